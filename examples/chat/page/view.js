// The page as the chat sees it: what is shown, and what the user does. It knows nothing of WebSockets.
//
// Whatever comes from users goes into the page as text (`textContent`), never as HTML. The list keeps its newest entries and
// follows them as long as the reader is at its end.

/** How many entries the list keeps. */
const KEPT = 500;
/** Messages of one user within this many milliseconds are shown as one group. */
const GROUP_WITHIN = 5 * 60_000;

const by = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const STATES = { connected: "Connected", connecting: "Connecting", lost: "Reconnecting" };

let unread = 0;
let title = document.title;
let countdown = null;
/** Whether the reader is at the end of the list, which then stays at its end, whatever its height. */
let following = true;

/** Shows the form, filled in, and above it why the user is back at it, if there is a reason. */
export function showForm({ user, room }, refusal = "") {
  by("chat").hidden = true;
  by("join").hidden = false;
  by("name").value = user;
  by("room").value = room;
  by("refusal").textContent = refusal;
  by("refusal").hidden = refusal === "";
  by(user === "" ? "name" : "room").focus();
}

/** Shows an empty room. */
export function showRoom({ user, room }) {
  by("join").hidden = true;
  by("chat").hidden = false;
  by("room-name").textContent = room;
  by("user-name").textContent = user;
  by("present").textContent = "";
  by("messages").replaceChildren();
  title = document.title = `${room} · Switchboard chat`;
  by("input").focus();
}

/** Shows how many are in the room. */
export function showPresence(count) {
  by("present").textContent = count === 1 ? "only you are here" : `${count} are here`;
}

/** Shows the state of the connection: "connected", "connecting" or "lost". */
export function showState(state) {
  by("status").dataset.state = state;
  by("status-text").textContent = STATES[state];
  by("send").disabled = state !== "connected";
  if (state === "connected") showLoss(null);
}

/** Counts down to the next try; null takes the notice away. */
export function showLoss(until) {
  clearInterval(countdown);
  by("lost").hidden = until === null;
  if (until === null) return;
  const tell = () => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    by("lost-text").textContent = seconds > 0 ? `Connection lost. Trying again in ${seconds} s.` : "Connection lost. Trying again.";
  };
  tell();
  countdown = setInterval(tell, 250);
}

/** Adds a message; `own` sets it apart. */
export function addMessage({ user, content, timestamp = Date.now() }, own) {
  const item = element("li", "message");
  item.dataset.user = user;
  item.dataset.timestamp = timestamp;
  item.style.setProperty("--hue", hueOf(user));
  item.classList.toggle("own", own);
  item.classList.toggle("follow", follows(item));
  const about = element("div", "about");
  about.append(element("span", "user", user), timeOf(timestamp));
  const avatar = element("span", "avatar", initialOf(user));
  avatar.ariaHidden = "true";
  item.append(avatar, about, element("p", "text", content));
  add(item, own);
  if (!own && document.hidden) document.title = `(${(unread += 1)}) ${title}`;
}

/** Adds a line about what happened in the room or to the connection. */
export function addNotice(type, text, timestamp = Date.now()) {
  const item = element("li", "notice", text);
  item.dataset.type = type;
  item.append(timeOf(timestamp));
  add(item, false);
}

/** Calls back for what the user does: `join({ user, room })`, `leave()`, `say(text)` (true where it was sent), `retry()`. */
export function listen({ join, leave, say, retry }) {
  by("join").addEventListener("submit", (event) => {
    event.preventDefault();
    const [user, room] = [by("name").value.trim(), by("room").value.trim()];
    if (user !== "" && room !== "") join({ user, room });
  });
  by("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = by("input").value.trim();
    if (text !== "" && say(text)) by("input").value = "";
    by("input").focus();
  });
  by("input").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    by("composer").requestSubmit(by("send").disabled ? null : by("send"));
  });
  by("leave").addEventListener("click", leave);
  by("retry").addEventListener("click", retry);
  addEventListener("online", retry);
  by("newest").addEventListener("click", toNewest);
  by("messages").addEventListener("scroll", followAtEnd, { passive: true });
  new ResizeObserver(() => following && toNewest()).observe(by("messages"));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    unread = 0;
    document.title = title;
    retry();
  });
}

function add(item, always) {
  const list = by("messages");
  list.append(item);
  while (list.children.length > KEPT) list.firstElementChild.remove();
  if (always || following) toNewest();
  else by("newest").hidden = false;
}

function followAtEnd() {
  const list = by("messages");
  following = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  if (following) by("newest").hidden = true;
}

function toNewest() {
  by("messages").scrollTop = by("messages").scrollHeight;
  by("newest").hidden = true;
  following = true;
}

function follows(item) {
  const last = by("messages").lastElementChild?.dataset;
  return last?.user === item.dataset.user && item.dataset.timestamp - last.timestamp < GROUP_WITHIN;
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function timeOf(timestamp) {
  const made = element("time", "", clock.format(timestamp));
  made.dateTime = new Date(timestamp).toISOString();
  return made;
}

/** A color of the user's own, the same on every page. */
function hueOf(user) {
  let hash = 0;
  for (const char of user) hash = (hash * 31 + char.codePointAt(0)) >>> 0;
  return hash % 360;
}

function initialOf(user) {
  const [first = "?"] = user;
  return first.toUpperCase();
}
