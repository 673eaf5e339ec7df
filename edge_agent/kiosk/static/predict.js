// Reading a picture: choose, drop, paste or take one; the device answers, the picture itself stays in this tab.

import { whenIdle } from "./idle.js";
import { emotion, html, icon, kind, number, page, percent, svg, text } from "./text.js";

const MAX_BYTES = page.max_mb * 1_000_000;
const TYPES = ["image/jpeg", "image/png", "image/webp"];
const SNAP_QUALITY = 0.92;

new EventSource("/api/events"); // by its connection systemd/kiosk-watch.sh sees that the page lives

const at = (id) => document.getElementById(id);
let pictureUrl = null;
let camera = null; // the promise of its stream, from the click until the booth closes
let latest = null; // the picture that counts; an answer about another one came too late

function showError(code) {
  const key = `error_${code}`;
  at("error").textContent = text(key in page.texts ? key : "error_unexpected", { n: number(page.max_mb) });
  at("working").textContent = "";
}

async function read(file, why = false) {
  latest = file;
  idle.hold(true);
  await readAndShow(file, why).finally(() => latest === file && idle.hold(false));
}

async function readAndShow(file, why) {
  at("error").textContent = "";
  at("reading").replaceChildren();
  if (file.size > MAX_BYTES) return showError("too_large");
  if (!TYPES.includes(file.type)) return showError("type");
  at("working").textContent = text("predict_working");
  const headers = { "content-type": file.type };
  const token = at("token")?.value;
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(why ? "/api/predict?why=1" : "/api/predict", { method: "POST", body: file, headers }).catch(() => null);
  const body = await answer?.json().catch(() => ({}));
  if (latest !== file) return;
  if (answer === null) return showError("network");
  if (!answer.ok) return showError(body.error?.code ?? "unexpected");
  at("working").textContent = "";
  return show(file, body);
}

async function show(file, prediction) {
  dropPicture();
  pictureUrl = URL.createObjectURL(file);
  const image = html("img", { src: pictureUrl, alt: text("predict_picture") });
  await image.decode().catch(() => {});
  if (latest !== file) return;
  const size = [image.naturalWidth, image.naturalHeight];
  const frame = html("div", { class: "picture" }, image, overlay(prediction.faces, size));
  const found = prediction.faces.length;
  const title = found ? text("predict_faces", { n: number(found) }) : text("predict_none");
  const words = html("div", { class: "findings" }, html("h2", { id: "found", tabindex: "-1" }, title));
  if (found) words.append(reasons(file, prediction.faces));
  if (prediction.percentages) words.append(shares(text("predict_whole"), prediction.percentages, 1));
  if (found > 1)
    prediction.faces.forEach((face, index) =>
      words.append(shares(text("predict_face", { n: number(index + 1) }), face.probabilities, 100, 3)),
    );
  at("reading").replaceChildren(frame, words);
  at("found").focus({ preventScroll: true });
  at("reading").scrollIntoView({ block: "nearest" });
}

function overlay(faces, [width, height]) {
  const line = Math.max(width, height) / 220;
  const layer = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  faces.forEach(({ box: [x, y, w, h], probabilities, why }, index) => {
    const top = Object.entries(probabilities).reduce((best, one) => (one[1] > best[1] ? one : best));
    const mark = Math.max(line * 6, Math.min(w, h) / 5);
    const tag = { x, y: y - mark, width: mark * (index < 9 ? 1 : 1.5), height: mark, rx: mark / 4 };
    if (why) layer.append(...heat(why));
    layer.append(
      svg("rect", { class: "box-edge", x, y, width: w, height: h, rx: w / 12, "stroke-width": line * 2 }),
      svg("rect", { class: `box e-${kind(top[0])}`, x, y, width: w, height: h, rx: w / 12, "stroke-width": line }),
      svg("rect", { class: `tag e-${kind(top[0])}`, ...tag }),
      svg("text", { class: "tag-words", x: x + tag.width / 2, y: y - mark * 0.26, "font-size": mark * 0.74 }, number(index + 1)),
    );
  });
  return layer;
}

// The button, or once it was pressed what the colours mean.
function reasons(file, faces) {
  if (faces.some((face) => face.why)) return html("p", { class: "fine" }, text("predict_why_meaning"));
  const button = html("button", { type: "button", id: "why" }, text("predict_why"));
  button.addEventListener("click", () => read(file, true));
  return html("p", { class: "drop-actions" }, button);
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

function shares(title, values, factor, most = Infinity) {
  const ordered = Object.entries(values).sort((a, b) => b[1] - a[1]).slice(0, most);
  const list = html("ul", {}, ...ordered.map(([label, value]) => bar(label, value * factor)));
  return html("section", { class: "shares bars" }, html("h3", {}, title), list);
}

function bar(label, value) {
  const track = svg("svg", { class: "track", "aria-hidden": "true" });
  track.append(svg("rect", { class: "fill", height: "100%", width: `${value}%` }));
  const name = html("span", { class: "name" }, emotion(label));
  const figure = html("span", { class: "value" }, percent(value));
  return html("li", { class: `bar e-${kind(label)}` }, icon(label), name, track, figure);
}

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

function dropPicture() {
  if (pictureUrl) URL.revokeObjectURL(pictureUrl);
  pictureUrl = null;
  at("reading").replaceChildren();
}

// No face stays when its owner has left: neither on the screen nor behind the browser's back button.
function forget() {
  latest = null;
  at("drop").reset();
  at("working").textContent = "";
  stopCamera();
  dropPicture();
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
  canvas.toBlob((blob) => read(blob), "image/jpeg", SNAP_QUALITY);
}

function listen() {
  const drop = at("drop");
  at("send").hidden = !at("token"); // with a token, the same picture may have to be sent again
  at("camera").hidden = !navigator.mediaDevices?.getUserMedia;
  at("picture").required = false;
  at("picture").addEventListener("change", () => at("picture").files[0] && read(at("picture").files[0]));
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
    if (event.dataTransfer.files[0]) read(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => event.clipboardData.files[0] && read(event.clipboardData.files[0]));
}

const idle = whenIdle(leave, warn);
addEventListener("pagehide", forget);
listen();
