// Several cameras side by side: asks for the page again and takes its figures, so that the server alone draws them.

import { text, time } from "./text.js";

const REFRESH_MS = 5_000;
const TIMEOUT_MS = 15_000;
const at = (id) => document.getElementById(id);

async function refresh() {
  const answer = await fetch(location.href, { signal: AbortSignal.timeout(TIMEOUT_MS) }).catch(() => null);
  const html = answer?.ok ? await answer.text().catch(() => null) : null;
  document.documentElement.toggleAttribute("data-stale", html === null);
  if (html === null) {
    for (const words of document.querySelectorAll(".camera .chip span:last-child")) words.textContent = text("state_agent_down");
    return;
  }
  const next = new DOMParser().parseFromString(html, "text/html");
  at("places").replaceWith(document.adoptNode(next.getElementById("places")));
}

const tick = () => (at("clock").textContent = time(new Date()));

setInterval(tick, 1000);
setInterval(refresh, REFRESH_MS);
new EventSource("/api/events"); // by its connection systemd/kiosk-watch.sh sees that the page lives
tick();
