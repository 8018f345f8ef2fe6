// Drives the stocks page in Chromium, with one tab. How it is told what to do, page.mjs says.

import { address, expect, obey, open } from "./page.mjs";

const WIDE = { width: 1180, height: 760 };
const NARROW = { width: 420, height: 900 };

const tab = await (await open(WIDE)).newPage();
const errors = [];
tab.on("pageerror", (error) => errors.push(error.message));

/** How many pixels of the chart are painted. */
const painted = () =>
  tab.evaluate(() => {
    const canvas = document.querySelector("#chart");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((value, index) => index % 4 === 3 && value > 0).length;
  });

const actions = {
  async open() {
    await tab.goto(address);
  },

  /** Waits for a state of the connection. */
  async isShown(state) {
    await tab.locator(`#status[data-state="${state}"]`).waitFor();
  },

  async press() {
    await tab.locator("#toggle").click();
  },

  /** Waits until there are so many more points than now, and looks that they are painted. */
  async chartGrows(by) {
    const before = await tab.evaluate(() => window.stocks.points);
    await tab.waitForFunction((count) => window.stocks.points >= count, before + Number(by));
    await tab.waitForFunction(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(() => drawn(true)))));
    expect("whether the chart is painted", (await painted()) > 1000, true);
  },

  /** Prices, weather and news have arrived. */
  async everythingArrives() {
    await tab.locator(".share").nth(3).waitFor();
    await tab.waitForFunction(() => /^-?\d+\.\d$/.test(document.querySelector("#celsius").textContent));
    await tab.locator("#headlines li").first().waitFor();
    await tab.waitForFunction(() => document.querySelector("#status-text").textContent.endsWith("ms away"));
    expect("the sockets", await tab.evaluate(() => window.stocks.socketCount), 3);
  },

  /** Nothing comes any more: the server has closed the sockets, and none was opened again. */
  async isSilent() {
    const sockets = await tab.evaluate(() => window.stocks.socketCount);
    const before = await tab.evaluate(() => window.stocks.messages);
    // As long as three publications would take by the page's own clock.
    await tab.evaluate(() => new Promise((later) => setTimeout(later, 3000)));
    expect("messages", await tab.evaluate(() => window.stocks.messages), before);
    expect("sockets", await tab.evaluate(() => window.stocks.socketCount), sockets);
  },

  /** Pictures in light and dark, wide and narrow. */
  async picture(folder) {
    await tab.screenshot({ path: `${folder}/light.png` });
    await tab.locator(".share").first().hover();
    await tab.waitForTimeout(300);
    await tab.screenshot({ path: `${folder}/alone.png` });
    await tab.mouse.move(2, 2);
    await tab.emulateMedia({ colorScheme: "dark" });
    await tab.waitForTimeout(300);
    await tab.screenshot({ path: `${folder}/dark.png` });
    await tab.setViewportSize(NARROW);
    await tab.waitForTimeout(500);
    await tab.screenshot({ path: `${folder}/narrow.png`, fullPage: true });
    await tab.setViewportSize(WIDE);
    await tab.emulateMedia({ colorScheme: "light" });
  },

  async hasNoErrors() {
    expect("errors in the page", errors.join("; "), "");
  },
};

await obey(actions);
