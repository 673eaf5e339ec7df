// The shares over time: one column per time step, its pieces in the order of the bars, no column if nothing is known.

import { emotion, html, interval, kind, page, percent, svg, text, time, weekday } from "./text.js";

// Seconds; `tick` is the shortest distance of the times below it.
const SPANS = {
  minutes: { seconds: 900, bucket: 30, tick: 300 },
  hour: { seconds: 3600, bucket: 120, tick: 900 },
  day: { seconds: 86_400, bucket: 1800, tick: 10_800 },
  week: { seconds: 604_800, bucket: 14_400, tick: 86_400 },
};
const FILLED = 0.25; // so much of a time span must be known before it is offered
const REFRESH_MS = 30_000;
const SCALE = [100, 50, 0];
const AXIS_REM = 1.5;
const SCALE_REM = 3;
const KEY_REM = 1.35;

const faceless = "faceless" in document.documentElement.dataset;
const at = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("[data-span]")];
const labels = page.figures.emotions.map((one) => one.label);

let span = "minutes";
let chosen = false; // by somebody; else the longest that is offered is shown
let buckets = null; // not known yet
let endMs = Date.now();
let latest = () => null;

async function load() {
  const { seconds, bucket } = SPANS[span];
  const wanted = span;
  const answer = await fetch(`/api/history?from=-${seconds}&bucket=${bucket}`).catch(() => null);
  if (wanted !== span) return;
  if (!answer?.ok) return draw(); // the text beside the steps may be out of date by now
  const history = await answer.json();
  endMs = Date.parse(history.to);
  const longest = offer(history.first === null ? 0 : (endMs - Date.parse(history.first)) / 1000);
  if (!chosen && longest !== span) return choose(longest);
  buckets = history.buckets.map((one) => ({ ...one, startMs: Date.parse(one.start) }));
  draw();
}

// Shows the buttons of the time spans that hold something, and returns the longest.
function offer(knownS) {
  const offered = Object.keys(SPANS).filter((name) => name === "minutes" || knownS >= FILLED * SPANS[name].seconds);
  for (const button of buttons) button.hidden = offered.length < 2 || !offered.includes(button.dataset.span);
  return offered.at(-1);
}

function draw() {
  const known = (buckets ?? []).filter((one) => one.percentages !== null);
  at("trend-empty").hidden = buckets === null || known.length > 0;
  at("chart").replaceChildren(chart(known));
  fillTable(known);
}

function chart(known) {
  const { seconds, bucket } = SPANS[span];
  const { width, height } = at("chart").getBoundingClientRect();
  const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
  const key = known.length > 0 ? keyWidth(rem) : rem;
  const plot = { left: SCALE_REM * rem, width: Math.max(width - SCALE_REM * rem - key, rem), height: Math.max(height - AXIS_REM * rem, rem) };
  const startMs = endMs - seconds * 1000;
  const step = (plot.width * bucket) / seconds;
  const gap = Math.min(step * 0.2, 0.3 * rem);
  const picture = svg("svg", { "aria-hidden": "true" });
  picture.append(...scale(plot, rem));
  for (const one of known) {
    const x = plot.left + ((one.startMs - startMs) / 1000 / seconds) * plot.width;
    const left = Math.max(x, plot.left) + gap / 2;
    const right = Math.min(x + step, plot.left + plot.width) - gap / 2;
    if (right - left > 1) picture.append(column(one, left, right - left, plot.height));
  }
  if (known.length > 0) picture.append(...legend(known.at(-1), plot, rem));
  picture.append(...ticks(startMs, plot, rem));
  return picture;
}

function scale(plot, rem) {
  return SCALE.flatMap((value) => {
    const y = plot.height * (1 - value / 100);
    const words = { class: "scale", x: plot.left - 0.5 * rem, y: Math.max(y + 0.3 * rem, 0.75 * rem), "text-anchor": "end" };
    return [svg("line", { class: "grid", x1: plot.left, x2: plot.left + plot.width, y1: y, y2: y }), svg("text", words, percent(value))];
  });
}

// The pieces of one time step from top to bottom: [label, upper edge, height].
function pieces(one, height) {
  let y = 0;
  return labels.map((label) => {
    const piece = (height * (one.percentages[label] ?? 0)) / 100;
    y += piece;
    return [label, y - piece, piece];
  });
}

function column(one, x, width, height) {
  const shape = svg("g", { class: "column" });
  for (const [label, y, piece] of pieces(one, height))
    if (piece > 0) shape.append(svg("rect", { class: `piece e-${kind(label)}`, x, y, width, height: Math.max(piece - 1, 0.5) }));
  const words = labels.map((label) => `${emotion(label)} ${percent(one.percentages[label] ?? 0)}`).join(", ");
  shape.append(svg("title", {}, `${when(new Date(one.startMs))}: ${words}`));
  return shape;
}

function keyWidth(rem) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `650 ${0.95 * rem}px ${getComputedStyle(document.body).fontFamily}`;
  return Math.max(...labels.map((label) => pen.measureText(emotion(label)).width)) + 2.4 * rem;
}

// Face and word beside the newest step, so that nobody has to tell the pieces apart by colour: the largest ones that fit,
// each as near to its piece as the others let it.
function legend(one, plot, rem) {
  const [line, size] = [KEY_REM * rem, 1.15 * rem];
  const all = pieces(one, plot.height).filter(([, , height]) => height > 0);
  const smallest = all.map(([, , height]) => height).sort((a, b) => b - a)[Math.floor(plot.height / line) - 1] ?? 0;
  const shown = all.filter(([, , height]) => height >= smallest).slice(0, Math.floor(plot.height / line));
  let y = 0;
  const middles = shown.map(([, top, height], index) => {
    const last = plot.height - line * (shown.length - index - 0.5);
    y = Math.min(Math.max(top + height / 2, y + line / 2), last) + line / 2;
    return y - line / 2;
  });
  return shown.flatMap(([label], index) => {
    const x = plot.left + plot.width + 0.5 * rem;
    const words = svg("text", { class: "key", x: x + 1.5 * rem, y: middles[index] + 0.33 * rem }, emotion(label));
    if (faceless) return [svg("circle", { class: `piece e-${kind(label)}`, cx: x + size / 2, cy: middles[index], r: size * 0.4 }), words];
    const face = { class: `e-${kind(label)}`, href: `#face-${kind(label)}`, x, y: middles[index] - size / 2, width: size, height: size };
    return [svg("use", face), words];
  });
}

// At full hours, or midnights, as many as there is room for.
function ticks(startMs, plot, rem) {
  const { seconds, tick } = SPANS[span];
  const room = (span === "day" || span === "minutes" ? 4.5 : 4) * rem;
  const every = tick * Math.max(1, Math.ceil((room * seconds) / plot.width / tick)) * 1000;
  const midnight = new Date(endMs).setHours(0, 0, 0, 0);
  const first = midnight - Math.floor((midnight - startMs) / every) * every;
  const marks = [];
  for (let ms = first; ms <= endMs; ms += every) {
    const x = plot.left + ((ms - startMs) / 1000 / seconds) * plot.width;
    const day = new Date(ms + (span === "week" ? 43_200_000 : 0)); // also where a day has 23 hours
    marks.push(
      svg("line", { class: "grid", x1: x, x2: x, y1: plot.height, y2: plot.height + 0.35 * rem }),
      svg("text", { x, y: plot.height + 1.25 * rem, "text-anchor": x + room / 2 > plot.left + plot.width ? "end" : "middle" }, span === "week" ? weekday(day) : time(day)),
    );
  }
  return marks;
}

const when = (date) => (span === "week" ? `${weekday(date)} ${time(date)}` : time(date));

function fillTable(known) {
  const head = html("tr", {}, html("th", { scope: "col" }, text("table_time")));
  for (const label of labels) head.append(html("th", { scope: "col" }, emotion(label)));
  const rows = known.toReversed().map((one) => {
    const row = html("tr", {}, html("th", { scope: "row" }, when(new Date(one.startMs))));
    for (const label of labels) row.append(html("td", {}, percent(one.percentages[label] ?? 0)));
    return row;
  });
  at("table-body").replaceChildren(html("thead", {}, head), html("tbody", {}, ...latestRow(), ...rows));
}

// The bars with their intervals; the steps before have none.
function latestRow() {
  const now = latest();
  if (now === null) return [];
  const row = html("tr", { class: "latest" }, html("th", { scope: "row" }, now.span));
  for (const label of labels) {
    const one = now.emotions.find((known) => known.label === label);
    row.append(html("td", {}, ...(one ? [percent(one.percent), html("small", {}, interval(one))] : [])));
  }
  return [row];
}

function choose(wanted) {
  span = wanted;
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.span === span));
  buckets = null;
  return load();
}

// Back to the state before anybody touched it.
export function resetTrend() {
  at("table").close();
  if (chosen) {
    chosen = false;
    load();
  }
}

// `bars` tells what the bars stand for: { span, emotions }, or null.
export function startTrend(bars) {
  latest = bars;
  document.querySelector(".trend").hidden = false;
  for (const button of buttons)
    button.addEventListener("click", () => {
      chosen = true;
      choose(button.dataset.span);
    });
  at("table-open").addEventListener("click", () => {
    draw();
    at("table").showModal();
  });
  at("table-close").addEventListener("click", () => at("table").close());
  new ResizeObserver(draw).observe(at("chart"));
  load();
  setInterval(load, REFRESH_MS);
}
