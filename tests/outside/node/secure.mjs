// Drives a page over https in Chromium. How it is told what to do, page.mjs says.

import { address, expect, obey, open } from "./page.mjs";

const context = await open({ width: 400, height: 300 });
const page = await context.newPage();

const actions = {
  async open() {
    await page.goto(address);
  },

  /** Opens another WebSocket, which stays open, and asks through it. */
  async ask(question, answer) {
    const heard = await page.evaluate(
      (question) =>
        new Promise((resolve, reject) => {
          const socket = new WebSocket(`wss://${location.host}/ws`);
          (window.sockets ??= []).push(socket);
          socket.onopen = () => socket.send(question);
          socket.onmessage = (event) => resolve(event.data);
          socket.onclose = (event) => reject(new Error(`closed with ${event.code}`));
        }),
      question,
    );
    expect("the answer", heard, answer);
  },

  /** By which version of HTTP the page came. */
  async cameOver(protocol) {
    const used = await page.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol);
    expect("the protocol", used, protocol);
  },
};

await obey(actions);
