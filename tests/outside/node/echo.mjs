// Talks to an echo server with the package `ws` and compares what comes back.
//
// Usage: node echo.mjs ws://HOST:PORT/ws plain|compressed, the latter where the server is to compress. Ends with 1 and one line
// that says what differs, or that nothing came for a minute.

import { on, once } from "node:events";
import WebSocket from "ws";

const [address, how] = process.argv.slice(2);
const LIMIT = 1024 * 1024;
const PATIENCE = 60_000;
const MANY = 5000;

function expect(what, found, wanted) {
  if (found !== wanted) throw new Error(`${what}: ${short(found)} in place of ${short(wanted)}`);
}

function short(value) {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= 80 ? text : `${text.slice(0, 80)}... (${text.length} long)`;
}

async function open(...options) {
  const socket = new WebSocket(address, ...options);
  // Queued from the start, since messages may come in one piece with the answer to the handshake.
  const messages = on(socket, "message", { close: ["close"] });
  await once(socket, "open");
  expect("what was agreed on", socket.extensions, how === "compressed" ? "permessage-deflate" : "");
  const next = async () => {
    const { value, done } = await messages.next();
    if (done) throw new Error("the connection was closed where a message was due");
    return value;
  };
  return { socket, next };
}

async function closeOf(socket) {
  const [code, reason] = await once(socket, "close");
  return `${code} ${reason}`.trim();
}

async function messagesComeBack() {
  const { socket, next } = await open();
  for (const text of ["hi", "", "é€🦀", '{"a":1}'.repeat(300), "é".repeat(5000), "x".repeat(LIMIT)]) {
    socket.send(text);
    const [data, isBinary] = await next();
    expect("the echo of a text", data.toString(), text);
    expect("whether the echo of a text is binary", isBinary, false);
  }
  for (const bytes of [Buffer.from([0, 1, 255]), Buffer.alloc(0), Buffer.alloc(LIMIT, 7)]) {
    socket.send(bytes);
    const [data, isBinary] = await next();
    expect("the echo of bytes", data.toString("base64"), bytes.toString("base64"));
    expect("whether the echo of bytes is binary", isBinary, true);
  }
  socket.terminate();
}

async function aByteTooManyCloses() {
  for (const message of ["x".repeat(LIMIT + 1), Buffer.alloc(LIMIT + 1)]) {
    const { socket } = await open();
    const closed = closeOf(socket);
    socket.send(message);
    expect("the close after a message over the limit", (await closed).split(" ")[0], "1009");
  }
}

async function theLimitCountsForFragmentsTogether() {
  const { socket, next } = await open();
  const closed = closeOf(socket);
  for (const [length, rest] of [[LIMIT - 1, 1], [LIMIT - 1, 2]]) {
    socket.send("x".repeat(length), { fin: false });
    socket.send("y".repeat(rest), { fin: true });
    if (length + rest <= LIMIT) expect("the echo of fragments", (await next())[0].length, LIMIT);
  }
  expect("the close after fragments over the limit", (await closed).split(" ")[0], "1009");
}

async function aPingIsAnswered() {
  const { socket } = await open();
  const answer = once(socket, "pong");
  socket.ping("are you there");
  expect("the answer to a ping", (await answer)[0].toString(), "are you there");
  socket.terminate();
}

async function closesAreAnsweredWithTheirOwnCode() {
  for (const [code, reason] of [[1000, ""], [1001, "going"], [3001, "é"], [4999, "x".repeat(123)]]) {
    const { socket } = await open();
    const answer = closeOf(socket);
    socket.close(code, reason);
    expect(`the answer to close ${code}`, await answer, `${code} ${reason}`.trim());
  }
}

/** Unlike others, this client gives up where the server takes none of what it offers: the server must have said nothing. */
async function anOfferedSubprotocolIsLeft() {
  const said = await open(["chat", "b"]).then(() => "a connection", (error) => error.message);
  expect("the end of a handshake with subprotocols", said, "Server sent no subprotocol");
}

async function manyMessagesComeBackInOrder() {
  const { socket, next } = await open();
  for (let n = 0; n < MANY; n += 1) socket.send(String(n));
  for (let n = 0; n < MANY; n += 1) expect("the next of many", (await next())[0].toString(), String(n));
  socket.terminate();
}

const CHECKS = [
  messagesComeBack,
  aByteTooManyCloses,
  theLimitCountsForFragmentsTogether,
  aPingIsAnswered,
  closesAreAnsweredWithTheirOwnCode,
  anOfferedSubprotocolIsLeft,
  manyMessagesComeBackInOrder,
];

for (const check of CHECKS) {
  const deadline = setTimeout(() => {
    console.error(`${check.name}: nothing came for ${PATIENCE / 1000} s`);
    process.exit(1);
  }, PATIENCE);
  try {
    await check();
  } catch (error) {
    console.error(`${check.name}: ${error.message}`);
    process.exit(1);
  }
  clearTimeout(deadline);
}
process.exit(0);
