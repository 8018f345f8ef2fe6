// A WebSocket that comes back by itself.
//
// It reports what happens to it and knows nothing of the page. After a loss it waits a pause that doubles each
// time, with jitter, so that a thousand pages that lost a server at once do not all come back in the same moment. A close
// that says the client itself is not wanted (1008, or 4000 and up) is an answer and not a loss: it is not tried again.

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
/** How long a connection must have lasted before the pauses begin anew, in milliseconds. */
const STABLE_AFTER = 5_000;

export class Connection {
  /** How many WebSockets this page has opened; a test proves with it that none was opened anew. */
  static opened = 0;

  #address;
  #on;
  #socket = null;
  #timer = null;
  #pauses = 0;
  #openSince = 0;
  #ended = false;

  /**
   * `address()` gives the URL of each try, which may be another than that of the last. `on` has one function for each report:
   * `connecting()`, `connected()`, `message(text)`, `lost(until, close)` with the time of the next try, and `refused(reason)`,
   * after which nothing more comes.
   */
  constructor(address, on) {
    this.#address = address;
    this.#on = on;
    this.#open();
  }

  /** Sends text; false where there is no open connection to send it on. */
  send(text) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  /** Tries at once instead of at the end of the pause. */
  retry() {
    if (this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#open();
  }

  /** Ends it for good; nothing is reported any more. */
  end() {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#socket?.close(1000);
  }

  #open() {
    this.#timer = null;
    this.#on.connecting();
    Connection.opened += 1;
    const socket = new WebSocket(this.#address());
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#ended || this.#on.message(data);
    socket.onclose = (close) => this.#closed(close);
  }

  #opened() {
    if (this.#ended) return;
    this.#openSince = performance.now();
    this.#on.connected();
  }

  #closed({ code, reason }) {
    if (this.#ended) return;
    if (code === 1008 || code >= 4000) {
      this.#ended = true;
      this.#on.refused(reason);
      return;
    }
    const lasted = this.#openSince > 0 ? performance.now() - this.#openSince : 0;
    this.#openSince = 0;
    this.#pauses = lasted > STABLE_AFTER ? 0 : this.#pauses;
    const pause = this.#nextPause();
    this.#timer = setTimeout(() => this.#open(), pause);
    this.#on.lost(Date.now() + pause, { code, reason });
  }

  #nextPause() {
    const full = Math.min(FIRST_PAUSE * 2 ** this.#pauses, LONGEST_PAUSE);
    this.#pauses += 1;
    return full * (0.5 + Math.random() / 2);
  }
}
