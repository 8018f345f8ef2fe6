// Drives the page of the example `auth` in Chromium. How it is told what to do, page.mjs says.

import { address, expect, obey, open } from "./page.mjs";

const context = await open({ width: 600, height: 760 });
const page = await context.newPage();

const actions = {
  async open() {
    await page.goto(address);
    await page.locator("#form").waitFor();
  },

  async logIn(user, password) {
    await page.locator("#name").fill(user);
    await page.locator("#password").fill(password);
    await page.locator("#enter").click();
  },

  /** Waits for the error above the form, with the form still there. */
  async isRefused(reason) {
    await page.locator("#error", { hasText: reason }).waitFor();
    expect("whether the form is shown", await page.locator("#form").isVisible(), true);
    expect("whether what is inside is shown", await page.locator("#inside").isVisible(), false);
  },

  /** Waits until the server greeted. */
  async isGreeted(user) {
    await page.locator("#greeting", { hasText: `Hello, ${user}` }).waitFor();
    expect("whether the form is shown", await page.locator("#form").isVisible(), false);
  },

  async say(user, text) {
    await page.locator("#text").fill(text);
    await page.locator("#text").press("Enter");
    const said = page.locator("#said li", { hasText: text });
    await said.waitFor();
    expect("who said it", await said.locator("strong").textContent(), user);
  },

  /** Presses the button that forges a token, and waits for what the server says of it. */
  async forge(reason) {
    await page.locator("#forge").click();
    await page.locator("#forgery", { hasText: reason }).waitFor();
  },

  async leave() {
    await page.locator("#leave").click();
    await page.locator("#form").waitFor();
  },

  /** A picture of the page as it is, in light and in dark. */
  async picture(path) {
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: `${path}-${colorScheme}.png`, scale: "css", animations: "disabled" });
    }
    await page.emulateMedia({ colorScheme: "light" });
  },
};

await obey(actions);
