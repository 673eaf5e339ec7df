// The live board: takes events from the agent and changes what the server rendered first.

import { whenIdle } from "./idle.js";
import { emotion, interval, kind, number, page, percent, text, time } from "./text.js";
import { resetTrend, startTrend } from "./trend.js";

const SILENCE_MS = 25_000; // the server pings every ten seconds
const RETRY_MS = 2_000;
const TICK_MS = 1_000;
const SPEAK_MS = 60_000;
const IDLE_MS = 5_000;
const NO_FIGURES = { percent: null, low: null, high: null };

const root = document.documentElement;
const at = (id) => document.getElementById(id);
const bars = new Map([...document.querySelectorAll(".bar")].map((bar) => [bar.dataset.label, bar]));

let figures = page.figures;
let receivedMs = performance.now();
let heardMs = performance.now();
let connected = true;
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
  set("chip", text(`state_${state}`));
  drawHero(state, top, showsTop, stale);
  drawBars(top);
  const unfamiliar = figures.familiar !== null && figures.familiar < page.familiar_from;
  set("range", text(unfamiliar ? "unfamiliar" : "range"));
  speak(state, top, showsTop);
}

function drawHero(state, top, showsTop, stale) {
  at("hero-face").setAttribute("href", `#face-${showsTop ? kind(top.label) : state === "stale" ? "other" : state}`);
  set("hero-lead", showsTop && !stale ? text(figures.rolling ? "strongest_recently" : "strongest") : "");
  set("hero-number", showsTop ? percent(top.percent) : "");
  set("hero-word", showsTop ? emotion(top.label) : text(`state_${state}`));
  const doubt = figures.doubt !== null && !stale ? text(`doubt_${figures.doubt}`) : null;
  set("hero-text", doubt ?? page.state_texts[state] ?? "");
  const counted = figures.people !== null && figures.span_s !== null && !stale;
  set("people", counted ? text("people", { n: number(figures.people), span: spanWords(figures.span_s) }) : "");
  const late = stale && figures.window_end !== null;
  set("last", late ? text("last_figures", { time: time(new Date(figures.window_end)) }) : "");
}

function drawBars(top) {
  for (const [label, bar] of bars) {
    const one = figures.emotions.find((known) => known.label === label) ?? NO_FIGURES;
    bar.classList.toggle("top-one", one === top);
    bar.querySelector(".value").textContent = one.percent === null ? "–" : percent(one.percent);
    bar.querySelector(".fill").setAttribute("width", `${one.percent ?? 0}%`);
    const range = bar.querySelector(".range");
    range.setAttribute("x1", `${one.low ?? 0}%`);
    range.setAttribute("x2", `${one.high ?? 0}%`);
    bar.querySelector(".interval").textContent = interval(one);
  }
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
setInterval(draw, TICK_MS);
hidePointerWhenIdle();
startTrend(latest);
if ("wall" in root.dataset) tidyWall();
