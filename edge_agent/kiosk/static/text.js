// Words and numbers of the page in its language, as the server sent them in the page's data block.

export const page = JSON.parse(document.getElementById("page").textContent);

const whole = new Intl.NumberFormat(page.texts.locale, { maximumFractionDigits: 0, useGrouping: false });
const hours = new Intl.DateTimeFormat(page.texts.locale, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const days = new Intl.DateTimeFormat(page.texts.locale, { weekday: "short" });

export const text = (key, values = {}) =>
  page.texts[key].replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);

export const number = (value) => whole.format(value);
// Half up, as the server rounds; Intl alone would turn 0.5 into 1 but 43.499999 as it likes.
export const percent = (value) => text("percent", { n: whole.format(Math.floor(value + 0.5 + 1e-9)) });
// The interval in words, for those who do not see the pale part.
export const interval = ({ low, high }) =>
  high === null ? "" : text("interval", { low: percent(low), high: percent(high) });
export const time = (date) => hours.format(date);
export const weekday = (date) => days.format(date);
export const emotion = (label) =>
  page.texts[`emotion_${label}`] ?? (label[0].toUpperCase() + label.slice(1)).replaceAll("_", " ");
export const kind = (label) => (document.getElementById(`face-${label}`) ? label : "other");

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function html(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export const icon = (label, name = "icon") =>
  svg("svg", { class: name, "aria-hidden": "true" }, svg("use", { href: `#face-${kind(label)}` }));
