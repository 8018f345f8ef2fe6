// The page: what its parts show. It knows nothing of connections.

import { Chart } from "./chart.js";

const HEADLINES = 6;
const part = (id) => document.getElementById(id);
const shares = new Map();

export const chart = new Chart(part("chart"));

/** Calls this at the button. */
export function listen(toggled) {
  part("toggle").addEventListener("click", toggled);
}

/** "connecting", "connected", "lost" or "unsubscribed", and a text for people. */
export function showState(state, text) {
  document.body.dataset.state = state;
  part("status").dataset.state = state;
  part("status-text").textContent = text;
  part("toggle").textContent = state === "unsubscribed" ? "Subscribe" : "Unsubscribe";
}

/** Prices by symbol. */
export function showPrices(prices) {
  part("waiting").hidden = true;
  for (const [symbol, price] of Object.entries(prices)) {
    if (!shares.has(symbol)) shares.set(symbol, addShare(symbol, shares.size));
    const share = shares.get(symbol);
    const change = chart.add(symbol, price);
    share.price.textContent = price.toFixed(2);
    share.change.textContent = `${change >= 0 ? "▲" : "▼"} ${Math.abs(change).toFixed(2)} %`;
    share.change.dataset.direction = Math.abs(change) < 0.005 ? "none" : change > 0 ? "up" : "down";
  }
}

function addShare(symbol, index) {
  const item = document.createElement("li");
  item.className = "share";
  item.tabIndex = 0;
  item.dataset.symbol = symbol;
  item.style.setProperty("--color", `var(--share-${index % 4})`);
  const [name, price, change] = ["symbol", "price", "change"].map((kind) => {
    const line = document.createElement("p");
    line.className = kind;
    item.append(line);
    return line;
  });
  name.textContent = symbol;
  for (const begin of ["pointerenter", "focus"]) item.addEventListener(begin, () => chart.showAlone(symbol));
  for (const end of ["pointerleave", "blur"]) item.addEventListener(end, () => chart.showAlone(null));
  part("shares").append(item);
  return { price, change };
}

export function showWeather({ place, celsius, wind }) {
  part("place").textContent = `Weather in ${place}`;
  part("celsius").textContent = celsius.toFixed(1);
  part("wind").textContent = `${wind.toFixed(1)} m/s`;
  // The wind chill of the weather services, where there is some.
  const speed = (wind * 3.6) ** 0.16;
  const chill = 13.12 + 0.6215 * celsius - 11.37 * speed + 0.3965 * celsius * speed;
  part("feels").textContent = `${(celsius < 10 && wind > 1.4 ? chill : celsius).toFixed(0)} °C`;
}

/** A headline is told again until there is another; only another is news. */
export function showNews({ headline }, timestamp) {
  const list = part("headlines");
  if (list.firstElementChild?.dataset.headline === headline) return;
  const item = document.createElement("li");
  item.dataset.headline = headline;
  const time = document.createElement("time");
  time.textContent = new Date(timestamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  item.append(time, headline);
  list.prepend(item);
  if (list.children.length > HEADLINES) list.lastElementChild.remove();
}
