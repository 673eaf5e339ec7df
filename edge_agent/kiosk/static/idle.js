// Puts back what passers-by leave open, when nobody has touched anything for a while.

const IDLE_MS = 60_000;
const WARN_MS = 20_000;
const INPUTS = ["pointerdown", "pointermove", "wheel", "keydown", "input", "focusin", "scroll", "dragover", "paste"];

// Calls `leave` a minute after the last input of any kind. 20 seconds before that it calls `warn` with the seconds that are left;
// 0 means that somebody is there again. In the background neither is called. `hold(true)` stops the clock, `hold(false)`
// starts it again.
export function whenIdle(leave, warn = () => {}) {
  let timers = [];
  let held = false;
  const wake = () => {
    timers.forEach(clearTimeout);
    warn(0);
    const running = !held && !document.hidden;
    timers = running ? [setTimeout(warn, IDLE_MS - WARN_MS, WARN_MS / 1000), setTimeout(leave, IDLE_MS)] : [];
  };
  for (const event of INPUTS) addEventListener(event, wake, { capture: true, passive: true });
  document.addEventListener("visibilitychange", wake);
  wake();
  return {
    hold(on) {
      held = on;
      wake();
    },
  };
}
