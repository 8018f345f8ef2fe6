// The yardstick: Bun's WebSocket server (uWebSockets) as its documentation writes an echo, one process, no
// compression. It listens on a free port and prints its address, like every server that `bench` measures.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    if (server.upgrade(request)) return;
    return new Response("this path speaks WebSocket only\n", { status: 426 });
  },
  websocket: {
    message(socket, message) {
      socket.send(message);
    },
  },
});

console.log(`listening on 127.0.0.1:${server.port}`);
