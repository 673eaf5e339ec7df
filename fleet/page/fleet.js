// The page of the fleet: asks the API every half minute and draws what it says.
const EVERY_MS = 30_000;
const form = document.getElementById("scope");
const byId = (id) => document.getElementById(id);

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

async function ask(path, parameters = {}) {
  const asked = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value));
  const answer = await fetch(`${path}?${asked}`);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function ago(ms) {
  const seconds = Math.max(0, (Date.now() - ms) / 1000);
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86_400)} days ago`;
}

function showDevices(devices) {
  const body = byId("devices").tBodies[0];
  body.replaceChildren(...devices.map((device) => {
    const row = element("tr");
    const state = device.online ? (device.paused ? "paused" : "online") : device.state === "stopped" ? "stopped" : "offline";
    row.append(element("td", state, { class: device.online ? "up" : "down" }));
    row.append(element("td", device.name ? `${device.name} (${device.device})` : device.device));
    row.append(element("td", [device.site, device.region].filter(Boolean).join(", ")));
    const camera = device.trouble ? `${device.camera}: ${device.trouble.replaceAll("_", " ")}` : device.camera;
    row.append(element("td", camera ?? "", { class: device.problem ? "down" : "" }));
    const familiar = device.familiar === null ? "" : `${Math.round(100 * device.familiar)} %`;
    row.append(element("td", familiar, { class: device.familiar !== null && device.familiar < 0.5 ? "down" : "" }));
    row.append(element("td", device.model ? `${device.model.name} ${device.model.sha256.slice(0, 8)}` : ""));
    row.append(element("td", device.version ?? ""));
    row.append(element("td", device.waiting ?? ""));
    row.append(element("td", device.heard_ms ? ago(device.heard_ms) : "", { class: "soft" }));
    return row;
  }));
  const online = devices.filter((device) => device.online).length;
  const troubled = devices.filter((device) => device.problem).length;
  byId("summary").textContent = `${online} of ${devices.length} devices online, ${troubled} with a camera problem`;
  for (const name of ["site", "region"]) {
    const select = form.elements[name];
    const known = new Set([...select.options].map((option) => option.value));
    for (const value of new Set(devices.map((device) => device[name]).filter(Boolean)))
      if (!known.has(value)) select.append(element("option", value, { value }));
  }
}

function showShares([pooled]) {
  const body = byId("shares").tBodies[0];
  if (!pooled) {
    body.replaceChildren();
    byId("people").textContent = "No window with enough people was published in this time.";
    byId("doubt").textContent = "";
    return;
  }
  byId("people").textContent =
    `${pooled.people.toLocaleString()} people in ${pooled.windows.toLocaleString()} windows of ${pooled.devices} devices`;
  const names = Object.keys(pooled.percentages).sort((a, b) => pooled.percentages[b] - pooled.percentages[a]);
  body.replaceChildren(...names.map((name) => {
    const row = element("tr"), track = element("div", null, { class: "track" }), share = pooled.percentages[name];
    const [low, high] = pooled.intervals?.[name] ?? [share, share];
    track.append(element("i", null, { style: `left:${low}%;width:${high - low}%` }), element("b", null, { style: `left:${share}%` }));
    const bar = element("td");
    bar.append(track);
    const text = pooled.intervals ? `${share.toFixed(1)} % (${Math.round(low)} to ${Math.round(high)})` : `${share.toFixed(1)} %`;
    row.append(element("th", name, { scope: "row" }), bar, element("td", text, { class: "number" }));
    return row;
  }));
  byId("doubt").textContent = pooled.intervals
    ? pooled.familiar < 0.5 ? "Many of these faces are unlike those the model was checked on: the figures are rough." : ""
    : "A model here is unknown to this server, or taught by its site: how far off the figures may be is not known.";
}

function showTrend(hours) {
  const svg = byId("trend"), parts = [];
  const svgElement = (tag, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    return made;
  };
  const known = hours.filter((hour) => "happy" in hour.percentages);
  const first = known[0]?.bucket ?? 0, span = Math.max(1, (known.at(-1)?.bucket ?? 0) - first);
  const x = (hour) => 60 + (530 * (hour.bucket - first)) / span, y = (share) => 200 - 1.8 * share;
  for (const share of [0, 50, 100]) {
    parts.push(svgElement("line", { x1: 60, x2: 590, y1: y(share), y2: y(share), class: "grid" }));
    parts.push(svgElement("text", { x: 52, y: y(share) + 5, "text-anchor": "end" }, `${share} %`));
  }
  if (known.length > 1) {
    const sure = known.filter((hour) => hour.intervals);
    const edge = [...sure.map((h) => `${x(h)},${y(h.intervals.happy[1])}`), ...sure.toReversed().map((h) => `${x(h)},${y(h.intervals.happy[0])}`)];
    if (sure.length > 1) parts.push(svgElement("polygon", { points: edge.join(" "), class: "reach" }));
    parts.push(svgElement("polyline", { points: known.map((h) => `${x(h)},${y(h.percentages.happy)}`).join(" "), class: "line" }));
    const clock = (hour) => new Date(hour.bucket * 3_600_000).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" });
    parts.push(svgElement("text", { x: 60, y: 228 }, clock(known[0])));
    parts.push(svgElement("text", { x: 590, y: 228, "text-anchor": "end" }, clock(known.at(-1))));
  } else parts.push(svgElement("text", { x: 320, y: 110, "text-anchor": "middle" }, "Fewer than two hours with figures"));
  svg.replaceChildren(...parts);
}

async function refresh() {
  const { hours, site, region } = Object.fromEntries(new FormData(form));
  try {
    showDevices(await ask("/api/devices"));
    showShares(await ask("/api/shares", { hours, site, region }));
    showTrend(await ask("/api/shares", { hours: Math.max(hours, 24), site, region, bucket: "hour" }));
  } catch (error) {
    byId("summary").textContent = `The server does not answer (${error.message}).`;
  }
}

form.addEventListener("change", refresh);
setInterval(refresh, EVERY_MS);
refresh();
