// Reading pictures: choose, drop, paste or take some; the device answers, the pictures themselves stay in this tab.

import { whenIdle } from "./idle.js";
import { emotion, html, icon, kind, number, page, percent, svg, text } from "./text.js";

const MAX_BYTES = page.max_mb * 1_000_000;
const TYPES = ["image/jpeg", "image/png", "image/webp"];
const SNAP_QUALITY = 0.92;
const MAX_PICTURES = 20;
const CARD_PX = 160;

new EventSource("/api/events"); // by its connection systemd/kiosk-watch.sh sees that the page lives

const at = (id) => document.getElementById(id);
let urls = []; // of the pictures that are shown
let camera = null; // the promise of its stream, from the click until the booth closes
let latest = null; // the pictures that count; an answer about others came too late

function showError(code) {
  at("error").textContent = errorWords(code);
  at("working").textContent = "";
}

function errorWords(code) {
  const key = `error_${code}`;
  return text(key in page.texts ? key : "error_unexpected", { n: number(page.max_mb) });
}

// One picture after the other; each is shown as soon as it is read.
async function read(files) {
  const mine = (latest = [...files].slice(0, MAX_PICTURES));
  idle.hold(true);
  at("error").textContent = files.length > mine.length ? text("predict_most", { n: number(MAX_PICTURES) }) : "";
  dropPictures();
  const all = [];
  for (const file of mine) {
    at("working").textContent = mine.length > 1 ? text("predict_working_on", { n: number(all.length + 1), all: number(mine.length) }) : text("predict_working");
    const answer = await ask(file, false);
    if (latest !== mine) return;
    at("working").textContent = "";
    all.push({ file, ...answer });
    if (answer.error && mine.length === 1) showError(answer.error);
    else await show(all, mine);
  }
  if (latest === mine) idle.hold(false);
}

async function ask(file, why) {
  if (file.size > MAX_BYTES) return { error: "too_large" };
  if (!TYPES.includes(file.type)) return { error: "type" };
  const headers = { "content-type": file.type };
  const token = at("token")?.value;
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(why ? "/api/predict?why=1" : "/api/predict", { method: "POST", body: file, headers }).catch(() => null);
  if (answer === null) return { error: "network" };
  const body = await answer.json().catch(() => ({}));
  return answer.ok ? { prediction: body } : { error: body.error?.code ?? "unexpected" };
}

// Adds the picture that was read last.
async function show(all, mine) {
  const one = all.at(-1);
  const article = one.error ? failed(one) : await result(one, mine);
  if (latest !== mine) return;
  const found = all.reduce((sum, { prediction }) => sum + (prediction?.faces.length ?? 0), 0);
  const title = found || all.length > 1 ? text("predict_faces", { n: number(found) }) : text("predict_none");
  const first = all.length === 1;
  if (first) at("reading").append(html("div", { class: "outcome" }, html("h2", { id: "found", tabindex: "-1" })));
  at("found").textContent = title;
  if (found && !at("csv")) at("reading").querySelector(".outcome").append(csvButton(all));
  at("reading").append(article);
  if (!first) return;
  at("found").focus({ preventScroll: true });
  at("reading").scrollIntoView({ block: "nearest" });
}

const failed = ({ file, error }) =>
  html("article", { class: "read" }, html("h3", {}, html("bdi", {}, file.name)), html("p", { class: "error" }, errorWords(error)));

async function result({ file, prediction }, mine) {
  const url = URL.createObjectURL(file);
  urls.push(url);
  const image = html("img", { src: url, alt: text("predict_picture") });
  await image.decode().catch(() => {});
  const { faces } = prediction;
  const frame = html("div", { class: "picture" }, image, overlay(faces, [image.naturalWidth, image.naturalHeight]));
  const words = html("div", { class: "findings" });
  if (mine.length > 1) words.append(html("h3", {}, html("bdi", {}, file.name)));
  if (!faces.length && mine.length > 1) words.append(html("p", {}, text("predict_none")));
  const article = html("article", { class: "read" }, frame, words);
  if (faces.length > 1) words.append(strip(image, faces));
  if (prediction.percentages) words.append(shares(text("predict_whole"), prediction.percentages));
  if (faces.length) words.append(actions(article, { file, prediction, image }, mine));
  return article;
}

const strongest = ({ probabilities }) => Object.entries(probabilities).reduce((best, one) => (one[1] > best[1] ? one : best));

function overlay(faces, [width, height]) {
  const line = Math.max(width, height) / 220;
  const layer = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const marks = faces.map(({ box: [, , w, h] }) => Math.min(line * 12, Math.max(line * 8, Math.min(w, h) / 4)));
  const tags = place(faces.map(({ box }, n) => ({ box, width: marks[n] * (faces.length > 1 ? (n < 9 ? 1.9 : 2.4) : 1.2), height: marks[n] * 1.2 })), width, height);
  for (const face of faces) if (face.why) layer.append(...heat(face.why));
  faces.forEach(({ box: [x, y, w, h] }, index) => {
    const look = `e-${kind(strongest(faces[index])[0])}`;
    layer.append(
      svg("rect", { class: "box-edge", x, y, width: w, height: h, rx: w / 12, "stroke-width": line * 2 }),
      svg("rect", { class: `box ${look}`, x, y, width: w, height: h, rx: w / 12, "stroke-width": line }),
    );
  });
  faces.forEach((face, index) => {
    const [mark, tag, [label]] = [marks[index], tags[index], strongest(face)];
    const use = { href: `#face-${kind(label)}`, x: tag.x + mark * 0.1, y: tag.y + mark * 0.1, width: mark, height: mark };
    layer.append(svg("rect", { class: `tag e-${kind(label)}`, ...tag, rx: tag.height / 2 }), svg("use", { class: `e-${kind(label)}`, ...use }));
    if (faces.length < 2) return;
    const words = { class: "tag-words", x: tag.x + (tag.width + mark * 0.95) / 2, y: tag.y + mark * 0.88, "font-size": mark * 0.78 };
    layer.append(svg("text", words, number(index + 1)));
  });
  return layer;
}

// Where the tags lie: above their boxes, or where else nothing is cut off and no other tag is covered.
function place(tags, width, height) {
  const laid = [];
  for (const { box: [x, y, w, h], width: wide, height: high } of tags) {
    const inside = (left, top) => ({ x: Math.max(0, Math.min(left, width - wide)), y: Math.max(0, Math.min(top, height - high)), width: wide, height: high });
    const places = [inside(x, y - high), inside(x, y + h), inside(x + w - wide, y - high), inside(x + w, y), inside(x - wide, y), inside(x, y)];
    const covers = (one) => laid.some((other) => one.x < other.x + other.width && other.x < one.x + wide && one.y < other.y + other.height && other.y < one.y + high);
    laid.push(places.find((one) => !covers(one)) ?? places[0]);
  }
  return laid;
}

// Every face, cut out, with what was read in it.
function strip(image, faces) {
  const cards = faces.map((face, index) => {
    const [label, share] = strongest(face);
    const words = html("span", {}, html("strong", {}, `${number(index + 1)} ${emotion(label)}`), ` ${percent(share * 100)}`);
    return html("li", { class: `e-${kind(label)}` }, cutOut(image, face.box), words);
  });
  return html("ul", { class: "strip" }, ...cards);
}

function cutOut(image, [x, y, w, h]) {
  const side = Math.max(w, h) * 1.3;
  const canvas = html("canvas", { width: CARD_PX, height: CARD_PX, "aria-hidden": "true" });
  const corner = [x + w / 2 - side / 2, y + h / 2 - side / 2];
  canvas.getContext("2d").drawImage(image, ...corner, side, side, 0, 0, CARD_PX, CARD_PX);
  return canvas;
}

// What can be done with one picture: ask why, once, and save it.
function actions(article, one, mine) {
  const row = html("p", { class: "drop-actions" });
  if (one.prediction.faces.some((face) => face.why)) article.append(html("p", { class: "fine" }, text("predict_why_meaning")));
  else row.append(button("why", "predict_why", () => explain(article, one, mine)));
  row.append(button("save", "predict_save", () => savePicture(one)));
  return row;
}

function button(name, key, act) {
  const made = html("button", { type: "button", class: name }, text(key));
  made.addEventListener("click", act);
  return made;
}

async function explain(article, { file }, mine) {
  idle.hold(true);
  at("working").textContent = text("predict_working");
  const answer = await ask(file, true);
  if (latest !== mine) return;
  at("working").textContent = "";
  if (answer.error) showError(answer.error);
  else article.replaceWith(await result({ file, ...answer }, mine));
  idle.hold(false);
}

// Darker where the answer needs what is there.
function heat({ emotion: label, square: [left, top, side], falls }) {
  const most = Math.max(0.5, ...falls.flat()); // nats: less is faint, as it is little
  const cell = side / falls.length;
  return falls.flatMap((line, row) =>
    line.map((fall, column) =>
      svg("rect", {
        class: `heat e-${kind(label)}`,
        x: left + column * cell,
        y: top + row * cell,
        width: cell,
        height: cell,
        "fill-opacity": (0.65 * Math.max(0, fall)) / most,
      }),
    ),
  );
}

function shares(title, values) {
  const ordered = Object.entries(values).sort((a, b) => b[1] - a[1]);
  const list = html("ul", {}, ...ordered.map(([label, value]) => bar(label, value)));
  return html("section", { class: "shares bars" }, html("h3", {}, title), list);
}

function bar(label, value) {
  const track = svg("svg", { class: "track", "aria-hidden": "true" }, svg("rect", { class: "sure", height: "100%", width: `${value}%` }));
  const lane = html("span", { class: "lane" }, track, svg("svg", { class: "push", width: `${value}%` }), html("span", { class: "value" }, percent(value)));
  return html("li", { class: `bar e-${kind(label)}` }, icon(label), html("span", { class: "name" }, emotion(label)), lane);
}

// -- saving: what the visitor asks for goes to the visitor's own downloads, and nowhere else ------------------------

function save(blob, name) {
  const link = html("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const stem = (file) => (file.name ?? "picture").replace(/\.[^.]*$/, "");

function savePicture({ file, prediction: { faces }, image }) {
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const line = Math.max(width, height) / 220;
  const foot = line * 12;
  const canvas = html("canvas", { width, height: height + foot });
  const pen = canvas.getContext("2d");
  const font = (px, weight) => (pen.font = `${weight} ${px}px ${getComputedStyle(document.body).fontFamily}`);
  pen.fillStyle = "#fbf5ea";
  pen.fillRect(0, 0, width, height + foot);
  pen.drawImage(image, 0, 0);
  pen.textBaseline = "middle";
  font(line * 6.5, 700);
  const words = faces.map((face, n) => `${faces.length > 1 ? `${number(n + 1)} ` : ""}${emotion(strongest(face)[0])} ${percent(strongest(face)[1] * 100)}`);
  const tags = place(faces.map(({ box }, n) => ({ box, width: pen.measureText(words[n]).width + line * 6, height: line * 9 })), width, height);
  faces.forEach((face, n) => {
    const color = getComputedStyle(at("reading").querySelector(`.e-${kind(strongest(face)[0])}`)).getPropertyValue("--c");
    pen.lineWidth = line;
    pen.strokeStyle = color;
    pen.strokeRect(...face.box);
    pen.fillStyle = color;
    pen.fillRect(tags[n].x, tags[n].y, tags[n].width, tags[n].height);
    pen.fillStyle = "#2b2438";
    pen.fillText(words[n], tags[n].x + line * 3, tags[n].y + line * 4.8);
  });
  font(line * 5, 500);
  pen.fillText(text("notice_meaning"), line * 3, height + foot / 2, width - line * 6);
  canvas.toBlob((blob) => save(blob, `${stem(file)}-countenance.png`), "image/png");
}

function csvButton(all) {
  const made = button("save", "predict_csv", () => {
    const read = all.filter(({ prediction }) => prediction);
    const labels = Object.keys(read.flatMap(({ prediction }) => prediction.faces)[0].probabilities);
    const rows = read.flatMap(({ file, prediction }) =>
      prediction.faces.map((face, n) => [file.name, n + 1, ...face.box, strongest(face)[0], ...labels.map((label) => (face.probabilities[label] * 100).toFixed(1))]),
    );
    const lines = [["picture", "face", "x", "y", "width", "height", "emotion", ...labels], ...rows].map((row) => row.map(cell).join(","));
    save(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }), "faces.csv");
  });
  made.id = "csv";
  return made;
}

// Quoted, and so that no spreadsheet takes a file's name for a formula.
const cell = (value) => `"${String(value ?? "").replace(/^(?=[=+\-@\t\r])/, "'").replaceAll('"', '""')}"`;

async function openCamera() {
  at("camera").disabled = true;
  const mine = (camera = navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" }, audio: false }));
  try {
    const stream = await mine;
    if (camera !== mine) return;
    at("video").srcObject = stream;
    await at("video").play();
  } catch {
    if (camera !== mine) return;
    stopCamera();
    return showError("camera");
  }
  at("error").textContent = "";
  at("booth").hidden = false;
  at("snap").focus();
}

// Also one that is not open yet: who allows it after the page was left is not filmed.
function stopCamera() {
  camera?.then((stream) => stream.getTracks().forEach((track) => track.stop())).catch(() => {});
  camera = null;
  at("video").srcObject = null;
  at("booth").hidden = true;
  at("camera").disabled = false;
}

function closeCamera() {
  stopCamera();
  at("camera").focus();
}

function dropPictures() {
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  at("reading").replaceChildren();
}

// No face stays when its owner has left: neither on the screen nor behind the browser's back button.
function forget() {
  latest = null;
  at("drop").reset();
  at("working").textContent = "";
  stopCamera();
  dropPictures();
  idle.hold(false);
}

async function leave() {
  forget();
  const answer = await fetch("/healthz").catch(() => null);
  if (answer?.ok) location.replace(at("board").href); // else at the next attempt: an error page would stay for good
}

function warn(seconds) {
  at("leaving").textContent = seconds ? text("predict_leaving", { n: number(seconds) }) : "";
}

function snap() {
  const video = at("video");
  const canvas = html("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  closeCamera();
  canvas.toBlob((blob) => read([new File([blob], "camera.jpg", { type: "image/jpeg" })]), "image/jpeg", SNAP_QUALITY);
}

function listen() {
  const drop = at("drop");
  at("send").hidden = !at("token"); // with a token, the same picture may have to be sent again
  at("camera").hidden = !navigator.mediaDevices?.getUserMedia;
  at("picture").required = false;
  at("picture").multiple = true;
  at("picture").addEventListener("change", () => at("picture").files.length && read(at("picture").files));
  at("picture").addEventListener("click", () => (at("picture").value = ""));
  drop.addEventListener("submit", (event) => {
    event.preventDefault();
    if (latest) read(latest);
  });
  at("camera").addEventListener("click", openCamera);
  at("snap").addEventListener("click", snap);
  at("cancel").addEventListener("click", closeCamera);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) read(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => event.clipboardData.files.length && read(event.clipboardData.files));
}

const idle = whenIdle(leave, warn);
addEventListener("pagehide", forget);
listen();
