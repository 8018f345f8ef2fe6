// Drives the chat page in Chromium, with one tab for each user. How it is told what to do, page.mjs says.

import { address, expect, obey, open } from "./page.mjs";

const TAB = { width: 560, height: 680 };
const GAP = 28;

const context = await open(TAB);
const tabs = new Map();
/** Users whose tabs reach nothing, as those of a computer that sleeps. */
const cut = new Set();
/** The open sockets of each user, as pairs of what the page and what the server has. */
const sockets = new Map();

const actions = {
  /** Opens a user's tab and waits until it is connected. */
  async open(user) {
    const tab = await context.newPage();
    tabs.set(user, tab);
    sockets.set(user, []);
    await tab.routeWebSocket("**/ws?*", (page) => {
      if (cut.has(user)) return page.close({ code: 1001 });
      sockets.get(user).push(page, page.connectToServer());
    });
    await tab.goto(`${address}/?user=${user}&room=lobby`);
    await actions.isShown(user, "connected");
  },

  /** Ends the connections of a user's tab, and lets none through until it is mended. */
  async cut(user) {
    cut.add(user);
    await Promise.all(sockets.get(user).splice(0).map((side) => side.close({ code: 1001 })));
    await actions.isShown(user, "lost");
  },

  async mend(user) {
    cut.delete(user);
    await actions.isShown(user, "connected");
  },

  async close(user) {
    await tabs.get(user).close();
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

  async hasNoNotice(user, type) {
    expect(`notices of ${type}`, await tabs.get(user).locator(`.notice[data-type="${type}"]`).count(), 0);
  },

  /** All messages that the tab shows, in their order. */
  async hasMessages(user, ...texts) {
    expect("the messages", JSON.stringify(await tabs.get(user).locator(".message .text").allTextContents()), JSON.stringify(texts));
  },

  /** Waits until an element shows a text. */
  async sees(user, id, text) {
    await tabs.get(user).locator(`#${id}`, { hasText: text }).waitFor();
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
