// The chat: who we are, where, and what the server's messages mean. It joins the connection and the view.
//
// Name and room come from the address (`?user=ann&room=lobby`) or from the form, and stay in the address, so that a reload
// comes back to the same place and a link leads into a room.

import { Connection } from "./connection.js";
import * as view from "./view.js";

let seat = null;
let connection = null;

// Read by tests: a reload of a plugin must not open another socket.
window.chat = Object.freeze({
  get socketCount() {
    return Connection.opened;
  },
});

function join(wanted) {
  seat = wanted;
  const query = new URLSearchParams({ room: seat.room, user: seat.user });
  history.replaceState(null, "", `?${query}`);
  localStorage.setItem("user", seat.user);
  view.showRoom(seat);
  connection = new Connection(address(query), reports());
}

function leave(refusal = "") {
  connection?.end();
  connection = null;
  history.replaceState(null, "", location.pathname);
  view.showForm(seat, refusal);
}

/** `/ws` on the host that the page came from, encrypted if the page is. */
function address(query) {
  const url = new URL("/ws", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.search = query;
  return url;
}

function reports() {
  let wasLost = false;
  return {
    connecting: () => view.showState("connecting"),
    connected: () => {
      view.showState("connected");
      if (wasLost) view.addNotice("connected", "You are connected again");
      wasLost = false;
    },
    lost: (until) => {
      if (!wasLost) view.addNotice("lost", "The connection was lost");
      wasLost = true;
      view.showState("lost");
      view.showLoss(until);
    },
    refused: (reason) => leave(reason === "" ? "The server refused the connection." : `${reason}.`),
    message: (data) => show(parse(data)),
  };
}

/** What is no JSON object, or of a type that a later server sends, is nothing to show. */
function parse(data) {
  try {
    return JSON.parse(data) ?? {};
  } catch {
    return {};
  }
}

function show(told) {
  switch (told.type) {
    case "message":
      return view.addMessage(told, told.user === seat.user);
    case "user_joined":
      return view.addNotice("user_joined", `${told.user} joined`, told.timestamp);
    case "user_left":
      return view.addNotice("user_left", `${told.user} left`, told.timestamp);
  }
}

view.listen({
  join,
  leave: () => leave(),
  say: (content) => connection?.send(JSON.stringify({ type: "message", content })) ?? false,
  retry: () => connection?.retry(),
});

const asked = new URLSearchParams(location.search);
const known = { user: asked.get("user") ?? localStorage.getItem("user") ?? "", room: asked.get("room") ?? "lobby" };
if (asked.get("user") && asked.get("room")) join(known);
else view.showForm(known);
