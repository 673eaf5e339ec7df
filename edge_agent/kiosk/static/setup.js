// The first start: the code by touch, the camera's picture, a broker's test, and the answers.

const $ = (id) => document.getElementById(id);
const ALIVE_MS = 3000;
const BETWEEN_LOOKS_MS = 150;

// A display's browser counts as crashed without a connection.
setInterval(() => fetch("/setup/alive").catch(() => {}), ALIVE_MS);

if ($("code")) code();
if ($("questions")) questions();
if ($("waiting")) waitForAgent();

// The agent takes this port in some seconds.
async function waitForAgent() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const answer = await fetch("/healthz").catch(() => null);
    if (answer?.ok && !answer.redirected) return location.replace(`/${location.search}`);
  }
}

// Digits for a display without a keyboard.
function code() {
  if (!matchMedia("(pointer: coarse)").matches) return;
  const pad = $("keypad");
  for (const key of ["1", "2", "3", "4", "5", "6", "7", "8", "9", "", "0", "⌫"]) {
    const button = document.createElement(key ? "button" : "span");
    if (key) {
      button.type = "button";
      button.textContent = key;
      if (key === "⌫") button.setAttribute("aria-label", pad.dataset.delete);
      button.addEventListener("click", () => {
        $("code").value = key === "⌫" ? $("code").value.slice(0, -1) : ($("code").value + key).slice(0, 12);
      });
    }
    pad.append(button);
  }
  pad.hidden = false;
  $("code").inputMode = "none";
}

async function questions() {
  const { text, number } = await import("./text.js");
  const page = JSON.parse($("page").textContent);
  const form = $("questions");
  const chosen = (name) => form.querySelector(`[name="${name}"]:checked`)?.value;
  let looking = false;
  let tested = 0;

  const ask = (path, what, signal) =>
    fetch(`/setup/${path}${location.search}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(what),
      signal,
    });

  // -- the camera
  const camera = () => {
    const [backend, ...source] = $("camera").value.split(" ");
    const rotate_deg = Number($("rotate").value);
    return $("camera").value === "network"
      ? { backend: "opencv", source: $("address").value.trim(), rotate_deg }
      : { backend, source: source.join(" "), rotate_deg };
  };
  const showAddress = () => {
    $("address-field").hidden = $("camera").value !== "network";
  };

  function say(words, detail = "") {
    // The same words again would be read aloud again.
    if ($("camera-words").textContent !== words) $("camera-words").textContent = words;
    $("camera-detail").textContent = detail;
  }

  async function look() {
    if (looking || (camera().source === "" && (say(text("setup_missing")), true))) return;
    looking = true;
    say(text("setup_camera_opening"));
    while (looking) {
      let seen;
      try {
        const answer = await ask("look", camera(), AbortSignal.timeout(30000));
        if (answer.status === 403) return location.reload();
        seen = await answer.json();
      } catch {
        say(text("setup_lost"));
        break;
      }
      if (!looking) break;
      if (seen.fault) say("", seen.fault);
      else if (seen.state === "seen") await showSeen(seen);
      else say(text(`setup_camera_${seen.state}`), seen.detail);
      if (seen.state !== "seen") hidePicture();
      if (seen.fault || seen.state === "over") break;
      await new Promise((resolve) => setTimeout(resolve, seen.state === "seen" ? BETWEEN_LOOKS_MS : 1000));
    }
    looking = false;
  }

  function hidePicture() {
    $("live").hidden = true;
    $("picture").removeAttribute("src");
    $("faces-seen").replaceChildren();
  }

  async function showSeen(seen) {
    const bytes = Uint8Array.from(atob(seen.picture), (letter) => letter.charCodeAt(0));
    const old = $("picture").src;
    $("picture").src = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
    if (old) URL.revokeObjectURL(old);
    await $("picture").decode().catch(() => {});
    $("boxes").setAttribute("viewBox", `0 0 ${seen.width} ${seen.height}`);
    $("boxes").replaceChildren(...seen.faces.flatMap((face, index) => box(face, index + 1, seen)));
    $("live").hidden = false;
    const lines = seen.faces.map((face, index) => {
      const line = document.createElement("li");
      const words = text(`setup_face_${face.reason ?? "good"}`, { n: number(face.size_px) });
      line.textContent = `${number(index + 1)}. ${words}`;
      return line;
    });
    $("faces-seen").replaceChildren(...lines);
    const turn = seen.rotates_by_deg;
    if (turn) say(text("setup_camera_turn", { n: number(turn) }));
    else if (lines.length) say(text("setup_camera_count", { n: number(lines.length) }));
    else say(text("setup_camera_nobody"));
  }

  function box(face, index, seen) {
    const [x, y, width, height] = face.box;
    const rect = (name) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [key, value] of Object.entries({ x, y, width, height, class: name })) element.setAttribute(key, value);
      return element;
    };
    const label = document.createElementNS("http://www.w3.org/2000/svg", "text");
    const size = Math.max(seen.width, seen.height) / 22;
    label.setAttribute("x", x + 4);
    label.setAttribute("y", Math.max(y + size, size));
    label.setAttribute("font-size", size);
    label.setAttribute("stroke-width", size / 6);
    label.textContent = number(index);
    return [rect("edge"), rect(face.reason ? "bad" : "good"), label];
  }

  $("look").addEventListener("click", look);
  $("camera").addEventListener("change", () => {
    showAddress();
    if ($("camera").value === "network") $("address").focus();
    else look();
  });
  $("address").addEventListener("change", look);
  $("rotate").addEventListener("change", look);

  // -- the broker
  const broker = () => {
    if (chosen("broker") === "none") return null;
    if (chosen("broker") === "here") return {};
    return {
      host: $("host").value.trim(),
      port: Number($("port").value),
      username: $("user").value,
      password: $("password").value,
      tls: $("tls").checked,
    };
  };

  async function test() {
    const asked = broker();
    const turn = ++tested;
    const tell = (words, detail = "") => {
      if (turn !== tested) return;
      $("broker-words").textContent = words;
      $("broker-detail").textContent = detail;
    };
    if (!asked || asked.host === "") return tell("");
    tell(text("setup_broker_testing"));
    try {
      const verdict = await (await ask("broker", asked)).json();
      if (verdict.fault) tell(text("setup_broker_wrong"), verdict.fault);
      else tell(text(`setup_broker_${verdict.word}`), verdict.detail);
    } catch {
      tell(text("setup_lost"));
    }
  }

  for (const radio of form.querySelectorAll('[name="broker"]')) {
    radio.addEventListener("change", () => {
      $("broker-fields").hidden = chosen("broker") !== "other";
      test();
    });
  }
  for (const field of ["host", "port", "user", "password"]) $(field).addEventListener("change", test);
  $("tls").addEventListener("change", () => {
    $("port").value = $("tls").checked ? 8883 : 1883;
    test();
  });
  $("test").addEventListener("click", test);

  // -- the place
  for (const radio of form.querySelectorAll('[name="place"]')) {
    radio.addEventListener("change", () => {
      const banned = page.banned.includes(chosen("place"));
      $("place-error").textContent = banned ? text("setup_place_banned") : "";
      $("send").disabled = banned;
    });
  }

  // -- the end
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fail = (words, detail = "") => {
      $("error").textContent = words;
      $("error-detail").textContent = detail;
    };
    const answers = {
      camera: camera(),
      name: $("name").value.trim(),
      place: chosen("place"),
      broker: broker(),
      page: chosen("page"),
      language: $("language").value,
      alone: $("alone").checked,
    };
    if (!answers.camera.source || answers.broker?.host === "") return fail(text("setup_missing"));
    fail("");
    looking = false;
    hidePicture();
    say("");
    $("send").disabled = true;
    $("sending").textContent = text("setup_sending");
    try {
      const answer = await (await ask("answers", answers)).json();
      if (answer.fault) fail(text("setup_wrong"), answer.fault);
      else finish(answer.page, answers.page);
    } catch {
      fail(text("setup_lost"));
    }
    $("sending").textContent = "";
    $("send").disabled = false;
  });

  function finish(address, who) {
    if (address) return location.assign(address);
    form.hidden = true;
    $("done-words").textContent = text("setup_done_words") + (who === "display" ? ` ${text("setup_done_display")}` : "");
    $("done").hidden = false;
    $("done").focus();
  }

  showAddress();
}
