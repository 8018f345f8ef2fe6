// The yardstick of `bench compress`: the echo of `bun-echo.js` with permessage-deflate for clients that offer it. With `true`
// Bun lets all connections share a compressor that begins anew with each message.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    if (server.upgrade(request)) return;
    return new Response("this path speaks WebSocket only\n", { status: 426 });
  },
  websocket: {
    perMessageDeflate: true,
    message(socket, message) {
      socket.send(message, true);
    },
  },
});

console.log(`listening on 127.0.0.1:${server.port}`);
