// Drives the chat page in Chromium, with one tab for each user. How it is told what to do, page.mjs says.

import { address, expect, obey, open } from "./page.mjs";

const TAB = { width: 560, height: 680 };
const GAP = 28;

const context = await open(TAB);
const tabs = new Map();

const actions = {
  /** Opens a user's tab and waits until it is connected. */
  async open(user) {
    const tab = await context.newPage();
    tabs.set(user, tab);
    await tab.goto(`${address}/?user=${user}&room=lobby`);
    await actions.isShown(user, "connected");
  },

  async say(user, text) {
    await tabs.get(user).locator("#input").fill(text);
    await tabs.get(user).locator("#input").press("Enter");
  },

  /** Waits for a message of `from`, and looks at what stands around it: the time, and the name where it is not one's own. */
  async hears(user, from, text) {
    const messages = tabs.get(user).locator(`.message[data-user="${from}"]`);
    const message = messages.filter({ has: tabs.get(user).getByText(text, { exact: true }) });
    await message.waitFor();
    expect("the name", await message.locator(".user").textContent(), from);
    expect("whether the time is one", /^\d\d:\d\d$/.test(await message.locator("time").textContent()), true);
    const first = messages.first();
    expect("whether the time is shown", await first.locator("time").isVisible(), true);
    expect("whether the name is shown", await first.locator(".user").isVisible(), user !== from);
  },

  /** Waits for a line about what happened in the room. */
  async notices(user, type, text) {
    await tabs.get(user).locator(`.notice[data-type="${type}"]`, { hasText: text }).first().waitFor();
  },

  /** Waits for a state of the connection: "connected" or "lost". */
  async isShown(user, state) {
    const tab = tabs.get(user);
    // While it tries again it says "connecting", with the notice of the loss still there.
    const sign = state === "lost" ? "#lost:not([hidden])" : `#status[data-state="${state}"]`;
    await tab.locator(sign).waitFor();
  },

  /** Whether the tab has opened one socket only since it was loaded. */
  async hasOneSocket(user) {
    expect(`the sockets of ${user}`, await tabs.get(user).evaluate(() => window.chat.socketCount), 1);
  },

  /** A picture of the tabs of two users, side by side. */
  async picture(left, right, path) {
    const shots = [];
    for (const user of [left, right]) {
      await tabs.get(user).locator("#input").blur();
      shots.push((await tabs.get(user).screenshot({ animations: "disabled" })).toString("base64"));
    }
    const frame = await context.newPage();
    await frame.setViewportSize({ width: 2 * TAB.width + 3 * GAP, height: TAB.height + 2 * GAP });
    const images = shots.map((shot) => `<img src="data:image/png;base64,${shot}">`);
    await frame.setContent(`<style>
      body { margin: 0; padding: ${GAP}px; display: flex; gap: ${GAP}px; background: linear-gradient(135deg, #e3e6fb, #f3eefb); }
      img { width: ${TAB.width}px; border-radius: 18px; box-shadow: 0 16px 40px -12px rgb(30 32 70 / 30%); }
    </style>${images.join("")}`);
    await frame.screenshot({ path, scale: "css" });
    await frame.close();
  },
};

await obey(actions);
