// The shares over time: one column per time step, its pieces in the order of the bars, no column if nothing is known.

import { emotion, html, interval, kind, page, percent, svg, text, time } from "./text.js";

const SPANS = { hour: { seconds: 3600, bucket: 120 }, day: { seconds: 86_400, bucket: 1800 } };
const REFRESH_MS = 30_000;
const TICKS = 5;
const AXIS_REM = 1.5;
const GUTTER_REM = 1.8;
const FACE_REM = 1.4;

const at = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("[data-span]")];
const labels = page.figures.emotions.map((one) => one.label);

let span = "hour";
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
  buckets = history.buckets.map((one) => ({ ...one, startMs: Date.parse(one.start) }));
  endMs = Date.parse(history.to);
  draw();
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
  const plot = { width: Math.max(width - GUTTER_REM * rem, rem), height: Math.max(height - AXIS_REM * rem, rem) };
  const startMs = endMs - seconds * 1000;
  const step = (plot.width * bucket) / seconds;
  const gap = Math.min(step * 0.2, 0.3 * rem);
  const picture = svg("svg", { "aria-hidden": "true" });
  picture.append(svg("rect", { class: "void", y: plot.height - 2, width: plot.width, height: 2 }));
  for (const one of known) {
    const x = ((one.startMs - startMs) / 1000 / seconds) * plot.width;
    const left = Math.max(x, 0) + gap / 2;
    const right = Math.min(x + step, plot.width) - gap / 2;
    if (right - left > 1) picture.append(column(one, left, right - left, plot.height));
  }
  if (known.length > 0) picture.append(...faces(known.at(-1), plot, rem));
  picture.append(...ticks(startMs, plot, rem));
  return picture;
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
  shape.append(svg("title", {}, `${time(new Date(one.startMs))}: ${words}`));
  return shape;
}

// Beside the newest step, so that nobody has to tell the pieces apart by colour.
function faces(one, plot, rem) {
  const size = FACE_REM * rem;
  return pieces(one, plot.height)
    .filter(([, , height]) => height > size)
    .map(([label, y, height]) =>
      svg("use", {
        class: `e-${kind(label)}`,
        href: `#face-${kind(label)}`,
        x: plot.width + 0.3 * rem,
        y: y + (height - size) / 2,
        width: size,
        height: size,
      }),
    );
}

function ticks(startMs, plot, rem) {
  return Array.from({ length: TICKS }, (_, n) => {
    const fraction = n / (TICKS - 1);
    const label = time(new Date(startMs + fraction * (endMs - startMs)));
    const anchor = n === 0 ? "start" : n === TICKS - 1 ? "end" : "middle";
    return svg("text", { x: fraction * plot.width, y: plot.height + 1.2 * rem, "text-anchor": anchor }, label);
  });
}

function fillTable(known) {
  const head = html("tr", {}, html("th", { scope: "col" }, text("table_time")));
  for (const label of labels) head.append(html("th", { scope: "col" }, emotion(label)));
  const rows = known.toReversed().map((one) => {
    const row = html("tr", {}, html("th", { scope: "row" }, time(new Date(one.startMs))));
    for (const label of labels) row.append(html("td", {}, percent(one.percentages[label] ?? 0)));
    return row;
  });
  at("table-body").replaceChildren(html("thead", {}, head), html("tbody", {}, ...latestRow(), ...rows));
}

// The bars with the intervals that their lines show; the steps before have none.
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
  load();
}

// Back to the state before anybody touched it.
export function resetTrend() {
  at("table").close();
  if (span !== "hour") choose("hour");
}

// `bars` tells what the bars stand for: { span, emotions }, or null.
export function startTrend(bars) {
  latest = bars;
  document.querySelector(".trend").hidden = false;
  for (const button of buttons) button.addEventListener("click", () => choose(button.dataset.span));
  at("table-open").addEventListener("click", () => {
    draw();
    at("table").showModal();
  });
  at("table-close").addEventListener("click", () => at("table").close());
  new ResizeObserver(draw).observe(at("chart"));
  load();
  setInterval(load, REFRESH_MS);
}
