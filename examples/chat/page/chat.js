// The chat: who we are, where, and what the server's messages mean. It joins the connection and the view.
//
// Name and room come from the address (`?user=ann&room=lobby`) or from the form, and stay in the address, so that a reload
// comes back to the same place and a link leads into a room. After a loss the page asks for what it missed: the server said
// where in the room it was ("joined"), and each message since is one further.

import { Connection } from "/shared/connection.js";
import * as view from "./view.js";

/** How long to wait for more who come and go before the server is asked how many are present, in milliseconds. */
const PRESENCE_PAUSE = 400;

let seat = null;
let connection = null;
/** Where in the room we are; null before the server said so, or where it keeps nothing. */
let place = null;
/** What came before the server said where that leads; null once it did. */
let held = null;
let asking = null;

// Read by tests: a reload of a plugin must not open another socket.
window.chat = Object.freeze({
  get socketCount() {
    return Connection.opened;
  },
});

function join(wanted) {
  seat = wanted;
  place = null;
  history.replaceState(null, "", `?${new URLSearchParams(seat)}`);
  localStorage.setItem("user", seat.user);
  view.showRoom(seat);
  connection = new Connection(address, reports());
}

function leave(refusal = "") {
  connection?.end();
  connection = null;
  clearTimeout(asking);
  history.replaceState(null, "", location.pathname);
  view.showForm(seat, refusal);
}

/** `/ws` on the host that the page came from, encrypted if the page is, from where we are in the room. */
function address() {
  const url = new URL("/ws", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.search = new URLSearchParams({ room: seat.room, user: seat.user, since: place?.text ?? "" });
  return url;
}

function reports() {
  let wasLost = false;
  return {
    connecting: () => view.showState("connecting"),
    connected: () => {
      held = [];
      view.showState("connected");
      if (wasLost) view.addNotice("connected", "You are connected again");
    },
    lost: (until) => {
      if (!wasLost) view.addNotice("lost", "The connection was lost");
      wasLost = true;
      view.showState("lost");
      view.showLoss(until);
    },
    refused: (reason) => leave(reason === "" ? "The server refused the connection." : `${reason}.`),
    message: (data) => {
      const told = parse(data);
      if (told.type === "joined") {
        if (wasLost && !told.complete) view.addNotice("missed", "Messages from while you were away may be missing");
        wasLost = false;
        arrive(told);
      } else if (held !== null) held.push(told);
      else take(told);
    },
  };
}

/** All up to this place was sent. It is shown only now, since after a loss before it would all come again. */
function arrive(joined) {
  held.forEach(show);
  held = null;
  place = joined.place === null ? null : new Place(joined.place);
  askWhoIsPresent(0);
}

function take(told) {
  if (told.type === "message") place?.advance();
  show(told);
}

/** A place in the room, `EPOCH-OFFSET`. */
class Place {
  #epoch;
  #offset;

  constructor(text) {
    const [epoch, offset] = text.split("-");
    this.#epoch = epoch;
    this.#offset = Number(offset);
  }

  advance() {
    this.#offset += 1;
  }

  get text() {
    return `${this.#epoch}-${this.#offset}`;
  }
}

/** Asks once they have stopped to come and go, so that a crowd does not ask for each of its members. */
function askWhoIsPresent(pause = PRESENCE_PAUSE) {
  clearTimeout(asking);
  asking = setTimeout(() => connection?.send(JSON.stringify({ type: "presence" })), pause);
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
    case "presence":
      return view.showPresence(told.count);
    case "user_joined":
      askWhoIsPresent();
      return view.addNotice("user_joined", `${told.user} joined`, told.timestamp);
    case "user_left":
      askWhoIsPresent();
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
