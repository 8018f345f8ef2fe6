// What the scripts that drive a page in Chromium share: the browser, and the loop that is told what to do line by line.
//
// Usage: node SCRIPT CHROMIUM http://HOST:PORT FLAGS... Each line of the input is a JSON array, the name of an action and its
// arguments; each is answered with "done: well", or "done: not" and the reason. An action that expects something waits for it, a
// minute at most. The end of the input closes the browser.

import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const [executablePath, server, ...flags] = process.argv.slice(2);
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];
const PATIENCE = 60_000;

/** Where the server is. */
export const address = server;

// Its folder for user data is a new one, and removed at the end.
const browser = await chromium.launch({ executablePath, args: [...FLAGS, ...flags], timeout: PATIENCE });

/** A context whose pages have this size. */
export async function open(viewport, options = {}) {
  const context = await browser.newContext({ viewport, deviceScaleFactor: 2, locale: "en-GB", colorScheme: "light", ...options });
  context.setDefaultTimeout(PATIENCE);
  return context;
}

export function expect(what, found, wanted) {
  if (found !== wanted) throw new Error(`${what}: ${JSON.stringify(found)} in place of ${JSON.stringify(wanted)}`);
}

/** Does what the input says until it ends. */
export async function obey(actions) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, ...given] = JSON.parse(line);
    try {
      await actions[name](...given);
      console.log("done: well");
    } catch (error) {
      console.log(`done: not, ${error.message.replaceAll("\n", " ")}`);
    }
  }
  await browser.close();
}
