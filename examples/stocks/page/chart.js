// Lines that move to the left, on a canvas: what values did in the last minutes, in percent of where they began.
//
// It is drawn a moment late, by about the pause between two points, so that a new point comes in from the right edge instead
// of jumping into view. The window of time grows with what there is to see, and the scale follows softly.

/** How late it is drawn, in milliseconds. */
const DELAY = 1100;
const LONGEST_WINDOW = 120_000;
const SHORTEST_WINDOW = 12_000;
/** The least that the scale spans, in percent. */
const LEAST_SPAN = 0.4;
/** What is left free around the lines, in pixels. */
const MARGIN = { top: 12, right: 64, bottom: 26, left: 52 };

export class Chart {
  /** How many points each line has at most. */
  static LIMIT = 400;

  #canvas;
  #lines = new Map();
  #scale = null;
  #alone = null;
  #colors = null;
  #still = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(canvas) {
    this.#canvas = canvas;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (this.#colors = null));
    const frame = () => {
      if (!this.#still.matches) this.draw();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** Adds a value to the line of this name; the first one is what it is compared with. Returns its change in percent. */
  add(name, value) {
    const line = this.#lines.get(name) ?? { first: value, points: [] };
    this.#lines.set(name, line);
    const change = (value / line.first - 1) * 100;
    line.points.push({ at: performance.now(), change });
    if (line.points.length > Chart.LIMIT) line.points.shift();
    if (this.#still.matches) this.draw();
    return change;
  }

  /** A gap: what comes next is not joined to what was there before. */
  interrupt() {
    for (const { points } of this.#lines.values()) {
      if (points.at(-1)?.change !== null) points.push({ at: performance.now(), change: null });
    }
  }

  /** Shows one line and fades the others; all with null. */
  showAlone(name) {
    this.#alone = name;
    this.draw();
  }

  /** How many points there are to draw. */
  get points() {
    return [...this.#lines.values()].reduce((sum, { points }) => sum + points.filter(({ change }) => change !== null).length, 0);
  }

  draw() {
    const { width, height } = this.#size();
    if (width === 0 || this.points === 0) return;
    const context = this.#canvas.getContext("2d");
    const ratio = devicePixelRatio;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.#colors ??= readColors();
    const view = this.#view(width, height);
    this.#drawGrid(context, view);
    let index = 0;
    const labels = [];
    for (const [name, line] of this.#lines) {
      const color = this.#colors.shares[index++ % this.#colors.shares.length];
      const label = this.#drawLine(context, view, { name, line, color });
      if (label) labels.push(label);
    }
    drawLabels(context, view, labels);
  }

  /** The canvas has as many pixels as the screen has under it. */
  #size() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const [wide, high] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
    if (this.#canvas.width !== wide || this.#canvas.height !== high) {
      this.#canvas.width = wide;
      this.#canvas.height = high;
    }
    return { width, height };
  }

  #view(width, height) {
    const now = performance.now() - (this.#still.matches ? 0 : DELAY);
    const all = [...this.#lines.values()];
    const oldest = Math.min(...all.map(({ points }) => points[0].at));
    const window = Math.min(Math.max((now - oldest) * 1.02, SHORTEST_WINDOW), LONGEST_WINDOW);
    const seen = all.flatMap(({ points }) => points.filter(({ at, change }) => change !== null && at > now - window - DELAY));
    this.#follow(seen.map(({ change }) => change));
    const { low, high } = this.#scale;
    const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
    const x = (at) => right - ((now - at) / window) * (right - MARGIN.left);
    const y = (change) => bottom - ((change - low) / (high - low)) * (bottom - MARGIN.top);
    return { x, y, now, window, right, bottom, low, high, width, muted: this.#colors.muted, grid: this.#colors.grid };
  }

  /** Moves the scale a part of the way to where it should be. */
  #follow(changes) {
    const [least, most] = [Math.min(0, ...changes), Math.max(0, ...changes)];
    const padding = Math.max((most - least) * 0.12, (LEAST_SPAN - (most - least)) / 2, 0);
    const target = { low: least - padding, high: most + padding };
    const part = this.#scale && !this.#still.matches ? 0.08 : 1;
    const toward = (from, to) => from + (to - from) * part;
    const from = this.#scale ?? target;
    this.#scale = { low: toward(from.low, target.low), high: toward(from.high, target.high) };
  }

  #drawGrid(context, view) {
    context.font = "12px system-ui, sans-serif";
    context.lineWidth = 1;
    context.fillStyle = view.muted;
    const step = niceStep(view.high - view.low);
    for (let change = Math.ceil(view.low / step) * step; change <= view.high; change += step) {
      const isZero = Math.abs(change) < step / 2;
      context.strokeStyle = view.grid;
      context.setLineDash(isZero ? [] : [3, 5]);
      context.beginPath();
      context.moveTo(MARGIN.left, Math.round(view.y(change)) + 0.5);
      context.lineTo(view.right, Math.round(view.y(change)) + 0.5);
      context.stroke();
      context.textAlign = "right";
      context.textBaseline = "middle";
      const digits = step < 0.1 ? 2 : step < 1 ? 1 : 0;
      const text = isZero ? "0 %" : `${change > 0 ? "+" : "−"}${Math.abs(change).toFixed(digits)} %`;
      context.fillText(text, MARGIN.left - 10, view.y(change));
    }
    context.setLineDash([]);
    context.textBaseline = "alphabetic";
    const seconds = niceSeconds(view.window / 1000);
    for (let ago = seconds; ago < (view.window / 1000) * 0.94; ago += seconds) {
      context.textAlign = "center";
      context.fillText(ago < 60 ? `${ago} s ago` : `${ago / 60} min ago`, view.x(view.now - ago * 1000), view.bottom + 20);
    }
    context.textAlign = "right";
    context.fillText("now", view.right, view.bottom + 20);
  }

  /** Returns where the line ends, for its label. */
  #drawLine(context, view, { name, line, color }) {
    const alpha = this.#alone === null || this.#alone === name ? 1 : 0.15;
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, 0, view.right + 1 - MARGIN.left, view.bottom + 4);
    context.clip();
    context.globalAlpha = alpha;
    context.strokeStyle = color;
    context.lineWidth = this.#alone === name ? 3 : 2.25;
    context.lineJoin = context.lineCap = "round";
    for (const part of parts(line.points)) trace(context, view, part);
    if (this.#alone === name) fillBelow(context, view, { points: parts(line.points).at(-1) ?? [], color });
    context.restore();
    const change = valueAt(line.points, view.now);
    return change === null ? null : { name, color, alpha, y: view.y(change) };
  }
}

/** Points without the gaps between them. */
function parts(points) {
  const found = [[]];
  for (const point of points) {
    if (point.change === null) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter((part) => part.length > 0);
}

/** A curve through the middles between points, which turns softly at each point. */
function trace(context, view, points) {
  const place = ({ at, change }) => [view.x(at), view.y(change)];
  context.beginPath();
  context.moveTo(...place(points[0]));
  for (let index = 1; index < points.length - 1; index++) {
    const [x, y] = place(points[index]);
    const [nextX, nextY] = place(points[index + 1]);
    context.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  context.lineTo(...place(points.at(-1)));
  context.stroke();
}

function fillBelow(context, view, { points, color }) {
  if (points.length < 2) return;
  const shade = context.createLinearGradient(0, MARGIN.top, 0, view.bottom);
  // The colors have six hexadecimal digits; two more say how much of them is seen.
  shade.addColorStop(0, `${color}38`);
  shade.addColorStop(1, `${color}00`);
  context.fillStyle = shade;
  context.lineTo(view.x(points.at(-1).at), view.bottom);
  context.lineTo(view.x(points[0].at), view.bottom);
  context.fill();
}

/** The line's value at a moment, between two points; none in a gap. */
function valueAt(points, moment) {
  const after = points.findIndex(({ at }) => at > moment);
  if (after === 0) return null;
  const [left, right] = after < 0 ? [points.at(-1), points.at(-1)] : [points[after - 1], points[after]];
  if (left.change === null || right.change === null) return null;
  const part = right.at > left.at ? (moment - left.at) / (right.at - left.at) : 1;
  return left.change + (right.change - left.change) * part;
}

/** Names at the ends of the lines, moved apart where they would lie upon each other. */
function drawLabels(context, view, labels) {
  const HEIGHT = 17;
  labels.sort((a, b) => a.y - b.y);
  const places = labels.map(({ y }) => y);
  for (let index = 1; index < places.length; index++) places[index] = Math.max(places[index], places[index - 1] + HEIGHT);
  const over = (places.at(-1) ?? 0) - view.bottom;
  if (over > 0) for (let index = places.length - 1, limit = view.bottom; index >= 0; index--, limit -= HEIGHT) places[index] = Math.min(places[index], limit);
  context.font = "600 12px system-ui, sans-serif";
  context.textAlign = "left";
  context.textBaseline = "middle";
  labels.forEach(({ name, color, alpha, y }, index) => {
    context.globalAlpha = alpha;
    context.fillStyle = color;
    context.beginPath();
    context.arc(view.right, y, 4, 0, 2 * Math.PI);
    context.fill();
    context.fillText(name, view.right + 12, places[index]);
  });
  context.globalAlpha = 1;
}

/** Three to seven lines, at round values. */
function niceStep(span) {
  const rough = span / 7;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
}

function niceSeconds(span) {
  return [5, 10, 15, 30, 60].find((step) => span / step <= 5) ?? 60;
}

function readColors() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return { shares: [0, 1, 2, 3].map((index) => read(`--share-${index}`)), muted: read("--muted"), grid: read("--line") };
}
