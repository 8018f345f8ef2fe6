// Stocks, weather and news: one connection for each, and what the server's messages mean.
//
// The state that is shown is that of the stocks; all three come from one server. A ping now and then measures the way there and
// back, which is shown beside it.

import { Connection } from "/shared/connection.js";
import * as view from "./view.js";

const SHOWN = {
  stocks: (data) => view.showPrices(data),
  weather: (data) => view.showWeather(data),
  news: (data, timestamp) => view.showNews(data, timestamp),
};
const PING_PAUSE = 5_000;

const connections = new Map();
let pingedAt = 0;
let nextTry = 0;
let messages = 0;

// Read by tests.
window.stocks = Object.freeze({
  get points() {
    return view.chart.points;
  },
  get messages() {
    return messages;
  },
  get socketCount() {
    return Connection.opened;
  },
});

function subscribe() {
  for (const kind of Object.keys(SHOWN)) connections.set(kind, new Connection(() => address(kind), reports(kind)));
}

/** The server closes with 1000 then, and `lost` is told of it. */
function unsubscribe() {
  for (const connection of connections.values()) {
    if (!connection.send("unsubscribe")) connection.end();
  }
  connections.clear();
  nextTry = 0;
  view.chart.interrupt();
  view.showState("unsubscribed", "Not subscribed");
}

/** On the host that the page came from, encrypted if the page is. */
function address(kind) {
  const url = new URL(`/stream/${kind}`, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

function reports(kind) {
  const isCurrent = (connection) => connections.get(kind) === connection;
  const show = (state, text) => {
    if (kind === "stocks" && connections.has(kind)) view.showState(state, text);
  };
  let connection = null;
  return {
    connecting: () => show("connecting", "Connecting"),
    connected: () => {
      nextTry = 0;
      connection = connections.get(kind);
      show("connected", "Connected");
      if (kind === "stocks") ping();
    },
    lost: (until) => {
      // The answer to an unsubscribe: nobody wants it back.
      if (connection !== null && !isCurrent(connection)) return connection.end();
      if (kind !== "stocks") return;
      nextTry = until;
      view.chart.interrupt();
      showPause();
    },
    refused: (reason) => show("lost", `Refused: ${reason}`),
    message: (text) => {
      if (connection !== null && isCurrent(connection)) take(text);
    },
  };
}

function take(text) {
  messages += 1;
  if (text === "pong") {
    const took = Math.max(performance.now() - pingedAt, 0.1);
    return view.showState("connected", `Connected, ${took < 10 ? took.toFixed(1) : Math.round(took)} ms away`);
  }
  const { type, data, timestamp } = JSON.parse(text);
  // Later servers may stream more.
  SHOWN[type]?.(data, timestamp);
}

function ping() {
  pingedAt = performance.now();
  connections.get("stocks")?.send("ping");
}

function showPause() {
  if (nextTry === 0) return;
  const seconds = Math.max(Math.ceil((nextTry - Date.now()) / 1000), 0);
  view.showState("lost", seconds > 0 ? `Connection lost, next try in ${seconds} s` : "Connection lost, trying again");
}

view.listen(() => (connections.size > 0 ? unsubscribe() : subscribe()));
setInterval(ping, PING_PAUSE);
setInterval(showPause, 250);
subscribe();
