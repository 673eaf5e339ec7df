// The live board: takes events from the agent and changes what the server rendered first.

import { whenIdle } from "./idle.js";
import { emotion, interval, kind, number, page, percent, text, time } from "./text.js";
import { resetTrend, startTrend } from "./trend.js";

const SILENCE_MS = 25_000; // the server pings every ten seconds
const RETRY_MS = 2_000;
const TICK_MS = 1_000;
const SPEAK_MS = 60_000;
const IDLE_MS = 5_000;
const MOVE_MS = 700; // as long as the bars' transition in kiosk.css
const SMALLEST = 0.7;
const NO_FIGURES = { percent: null, low: null, high: null };

const root = document.documentElement;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const at = (id) => document.getElementById(id);
const bars = new Map([...document.querySelectorAll(".bar")].map((bar) => [bar.dataset.label, bar]));

let figures = page.figures;
let receivedMs = performance.now();
let heardMs = performance.now();
let connected = true;
let fitted = null; // what was last made to fit
let spoken = { state: null, atMs: -Infinity };

const set = (id, words) => {
  const element = at(id);
  if (element.textContent !== words) element.textContent = words;
};

function ageSeconds() {
  return figures.age_s === null ? 0 : figures.age_s + (performance.now() - receivedMs) / 1000;
}

function currentState() {
  if (!connected) return "agent_down";
  const measuring = ["live", "nobody", "too_few"].includes(figures.state);
  return measuring && ageSeconds() > figures.stale_after_s ? "stale" : figures.state;
}

const spanWords = (seconds) =>
  seconds >= 120
    ? text("span_minutes", { n: number(Math.round(seconds / 60)) })
    : text("span_seconds", { n: number(Math.round(seconds)) });

function strongest() {
  const known = figures.emotions.filter((one) => one.percent !== null);
  return known.reduce((best, one) => (best === null || one.percent > best.percent ? one : best), null);
}

function draw() {
  const state = currentState();
  const top = strongest();
  const stale = state === "agent_down" || state === "stale";
  const showsTop = top !== null && state !== "agent_down";
  root.dataset.state = state;
  root.dataset.mood = showsTop ? kind(top.label) : "none";
  root.toggleAttribute("data-stale", stale);
  at("identify").hidden = performance.now() - receivedMs >= figures.identify_s * 1000;
  drawQuiet();
  set("chip", text(`state_${state}`));
  set("clock", time(new Date()));
  drawHero(state, top, showsTop, stale);
  drawBars(top);
  const unfamiliar = figures.familiar !== null && figures.familiar < page.familiar_from;
  set("range", text(unfamiliar ? "unfamiliar" : "range"));
  speak(state, top, showsTop);
  if ("wall" in root.dataset) fit();
}

// Nobody scrolls a wall: where a long text does not fit, all gets a little smaller.
function fit() {
  const look = [innerWidth, innerHeight, ...["hero-word", "hero-lead", "hero-text", "people", "last", "range"].map((id) => at(id).textContent)].join();
  if (look === fitted) return;
  fitted = look;
  for (let size = 1; size > SMALLEST; size -= 0.03) {
    root.style.setProperty("--fit", size);
    if (root.scrollHeight <= innerHeight) return;
  }
}

// In quiet hours a dim clock covers all; not where the device is silent, and nobody knows when they end.
function drawQuiet() {
  const until = connected ? figures.quiet_until : null;
  at("quiet").hidden = until === null;
  for (const part of document.querySelectorAll("header, main, footer")) part.inert = until !== null;
  if (until === null) return;
  const [hour, minute] = until.split(":").map(Number);
  set("quiet-clock", time(new Date()));
  set("quiet-text", text("quiet_text", { time: time(new Date(2026, 0, 1, hour, minute)) }));
}

function drawHero(state, top, showsTop, stale) {
  const { face, count, word, lead, words, people } = headline(state, top, showsTop, stale);
  at("hero-face").setAttribute("href", `#face-${face}`);
  set("hero-number", count);
  set("hero-word", word);
  set("hero-lead", lead);
  set("hero-text", words);
  set("people", people);
  const late = stale && figures.window_end !== null;
  set("last", late ? text("last_figures", { time: time(new Date(figures.window_end)) }) : "");
}

// What has changed, where that is known; else how many people were counted, or the state. pages.py does the same first.
function headline(state, top, showsTop, stale) {
  const doubt = figures.doubt !== null && !stale ? text(`doubt_${figures.doubt}`) : "";
  const note = doubt || (page.state_texts[state] ?? "");
  if (!showsTop || stale || figures.span_s === null) {
    const face = showsTop ? kind(top.label) : state === "stale" ? "other" : state;
    return { face, count: "", word: text(`state_${state}`), lead: "", words: note, people: "" };
  }
  const [span, n] = [spanWords(figures.span_s), number(figures.people)];
  const found = figures.compared?.difference;
  if (found) {
    const way = found.now.percent > found.before.percent ? "more" : "less";
    const people = text("people", { n, span });
    const [word, lead] = [emotion(found.label), text(`compare_${way}_${found.past}`)];
    return { face: kind(found.label), count: "", word, lead, words: note || change(found), people };
  }
  const pasts = (figures.compared?.pasts ?? []).map((past) => text(`compare_${past}`)).join(text("comma"));
  const words = note || (pasts && text("compare_none", { pasts }));
  return { face: kind(top.label), count: n, word: text("counted"), lead: span, words, people: "" };
}

function change({ past, now, before }) {
  const key = past === "usual" ? "compare_usually" : "compare_figures";
  const span = spanWords(figures.compared.span_s);
  return text(key, { now: percent(now.percent), before: percent(before.percent), span });
}

function drawBars(top) {
  for (const [label, bar] of bars) {
    const one = figures.emotions.find((known) => known.label === label) ?? NO_FIGURES;
    const [best, low, high] = [one.percent ?? 0, one.low ?? 0, one.high ?? 0];
    const part = (name, attributes) => {
      for (const [key, value] of Object.entries(attributes)) bar.querySelector(name).setAttribute(key, `${value}%`);
    };
    bar.classList.toggle("top-one", one === top);
    part(".fill", { width: best });
    part(".sure", { width: low });
    part(".reach", { x: low, width: high - low });
    part(".push", { width: Math.max(high, best) });
    count(bar.querySelector(".value"), one.percent);
    bar.querySelector(".interval").textContent = interval(one);
  }
}

// A number runs as long as its bar grows.
function count(element, wanted) {
  const from = element.shown ?? null;
  if (from === wanted && element.textContent) return;
  element.shown = wanted;
  const write = (value) => (element.textContent = value === null ? "–" : percent(value));
  if (wanted === null || from === null || still.matches || document.hidden) return write(wanted);
  const startMs = performance.now();
  const step = (nowMs) => {
    if (element.shown !== wanted) return;
    const left = Math.max(0, 1 - (nowMs - startMs) / MOVE_MS) ** 3;
    write(wanted + (from - wanted) * left);
    if (left > 0) requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

// The bars' figures for the table; nothing if they are empty or out of date.
function latest() {
  if (figures.span_s === null || ["stale", "agent_down"].includes(currentState())) return null;
  return { span: spanWords(figures.span_s), emotions: figures.emotions };
}

// A screen reader hears a change of state at once, the figures once a minute.
function speak(state, top, showsTop) {
  const now = performance.now();
  if (spoken.state === state && now - spoken.atMs < SPEAK_MS) return;
  spoken = { state, atMs: now };
  const shares = showsTop ? `: ${emotion(top.label)} ${percent(top.percent)}` : "";
  set("status", `${text(`state_${state}`)}${shares}`);
}

function listen() {
  const source = new EventSource("/api/events");
  const heard = () => {
    heardMs = performance.now();
    connected = true;
  };
  source.addEventListener("figures", (event) => {
    heard();
    figures = JSON.parse(event.data);
    receivedMs = performance.now();
    draw();
    if (figures.build !== page.figures.build) location.reload();
  });
  source.addEventListener("ping", heard);
  source.onerror = () => {
    source.close();
    connected = false;
    draw();
    setTimeout(listen, RETRY_MS);
  };
  const watch = setInterval(() => {
    if (source.readyState === EventSource.CLOSED) clearInterval(watch);
    else if (performance.now() - heardMs > SILENCE_MS) {
      heardMs = performance.now();
      clearInterval(watch);
      source.onerror();
    }
  }, TICK_MS);
}

function hidePointerWhenIdle() {
  let timer;
  const wake = () => {
    document.body.classList.remove("idle");
    clearTimeout(timer);
    timer = setTimeout(() => document.body.classList.add("idle"), IDLE_MS);
  };
  for (const event of ["pointermove", "pointerdown", "keydown"]) addEventListener(event, wake, { passive: true });
  wake();
}

// On a wall nobody puts things back, and a menu leads to files.
function tidyWall() {
  addEventListener("contextmenu", (event) => event.preventDefault());
  whenIdle(() => {
    resetTrend();
    document.activeElement?.blur();
    scrollTo(0, 0);
  });
}

draw();
listen();
addEventListener("resize", draw);
document.fonts.ready.then(() => {
  fitted = null;
  draw();
});
setInterval(draw, TICK_MS);
hidePointerWhenIdle();
startTrend(latest);
if ("wall" in root.dataset) tidyWall();
