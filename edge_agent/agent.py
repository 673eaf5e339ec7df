"""The agent's loop: frame by frame into the window, window by window into the store, until it is told to stop."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from edge_agent.cameras.capture import LatestFrame
from edge_agent.config import Config
from edge_agent.config.reminders import ACKNOWLEDGE_USE
from edge_agent.errors import ConfigError, CountenanceError
from edge_agent.first_start.trial import trial_ends_s
from edge_agent.health.counters import Counter, Health
from edge_agent.host.systemd import Notifier
from edge_agent.live import Live
from edge_agent.shares.window import Window
from edge_agent.store import Store
from edge_agent.types import Frame, Trouble
from edge_agent.updates.releases import Releases
from edge_agent.vision.pipeline import Pipeline
from edge_agent.vision.view import in_words

log = logging.getLogger(__name__)

ReloadAsked = queue.SimpleQueue[None]
"""A signal handler may put into it at any moment. An Event would not do: the interrupted code may hold its lock."""

TURN_S = 0.2
"""Longest wait for a frame, so that windows close and the watchdog is fed while the camera is away."""


class Agent:
    """The loop. Any thread may call ``pause``, ``resume``, ``reload``, ``identify``, ``set_window`` and ``update``; the
    loop carries them out.

    Args:
        config: the configuration.
        ready: what the log line "ready" says about the parts.
        live: what everybody may know right now.
        health: counters.
        store: takes every closed window, and remembers a pause.
        window: gathers what is seen.
        trial_window: gathers it while somebody tries the device alone.
        pipeline: reads every frame.
        capture: brings the frames.
        releases: says which models are in use, and tries others beside them.
        tell_news: called when the store or the agent's state has something new.
        read_config: reads the configuration again and raises ConfigError if it is wrong now; None without a file.
        reload_asked: filled by anyone who wants a reload.
        notifier: tells systemd.
    """

    def __init__(
        self,
        *,
        config: Config,
        ready: Mapping[str, str],
        live: Live,
        health: Health,
        store: Store,
        window: Window,
        trial_window: Window,
        pipeline: Pipeline,
        capture: LatestFrame,
        releases: Releases,
        tell_news: Callable[[], None],
        read_config: Callable[[], Config] | None,
        reload_asked: ReloadAsked,
        notifier: Notifier | None = None,
    ) -> None:
        self._config, self._ready = config, ready
        self._live, self._health, self._store = live, health, store
        self._window, self._pipeline, self._capture, self._releases = window, pipeline, capture, releases
        self._usual_window, self._trial_window = window, trial_window
        self._tell_news, self._read_config, self._reload_asked = tell_news, read_config, reload_asked
        self._notifier = notifier or Notifier()
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._next: Config | None = None
        self._size: tuple[int, ...] = ()

    def run(self, stop: threading.Event) -> Config | None:
        """Work until ``stop`` is set, a film is over, or a reload was asked for: then the new configuration comes back.

        Raises:
            CountenanceError: a replay's file cannot be read, or a camera's package is missing.
        """
        try:
            self._live.update(models=self._releases.told)
            self._follow_pause()  # before the camera is opened: its light would come on
            self._capture.start()
            self._say_ready()
            try:
                self._loop(stop)
            finally:
                if self._next is None:  # on a reload, STOPPING=1 would make systemd wait for the end of this process
                    self._notifier.stopping()
                # A camera that could never be opened has no window, not even an empty one.
                # Other models are switched to between two windows, so there is none to close then.
                if self._window.frames or not (self._capture.failure or self._releases.restart_due):
                    self._close_window()
        finally:
            self._capture.stop()
        if self._capture.failure is not None:
            raise self._capture.failure
        if self._next is not None:
            log.info("reloading")
        return self._next

    # -- the loop -----------------------------------------------------------------------------------------------

    def _loop(self, stop: threading.Event) -> None:
        while not (stop.is_set() or self._next or self._capture.ended):
            frame = self._capture.get(TURN_S)
            if frame is not None:
                self._process(frame)
            self._health.total(Counter.FRAMES_CAPTURED, self._capture.captured)
            self._health.total(Counter.FRAMES_DROPPED, self._capture.dropped)
            self._carry_out_requests()
            if not self._capture.is_film and self._window.due(time.monotonic(), self._live.state.window_s):
                self._close_window()
            if self._releases.restart_due and self._next is None:
                self._next = self._config
            # Only here: a detector or a model that hangs never reaches this line.
            self._notifier.watchdog()
            self._notifier.status(self._status())

    def _process(self, frame: Frame) -> None:
        at_s, size, is_film = frame.captured_monotonic_s, frame.image.shape, self._capture.is_film
        if self._window.frames:
            resized = size != self._size
            # After a long gap everybody is new to the tracker: in one window, those who stayed would count twice.
            ended = is_film and self._window.due(at_s, self._live.state.window_s)
            if resized or ended or not self._pipeline.bridges(at_s):
                self._close_window(at_s)
            if resized:
                self._forget()
        if is_film and not self._window.frames:  # a film's window begins with its first frame
            self._window.restart(at_s)
        self._size = size
        began_s = time.perf_counter()
        self._pipeline.process(frame)
        self._releases.saw(frame, time.perf_counter() - began_s)
        if self._pipeline.trouble is not self._live.state.trouble:
            self._tell_trouble(self._pipeline.trouble)
        self._health.count(Counter.FRAMES_PROCESSED)
        self._health.gauge("last_frame_monotonic_s", time.monotonic())

    def _close_window(self, film_s: float | None = None) -> None:
        """Close it now, or where a film is: at ``film_s``, by default after the last frame."""
        now_s = time.monotonic()
        if self._capture.is_film:
            ends_s = self._window.start_s + self._live.state.window_s
            now_s = min(self._capture.film_s if film_s is None else film_s, ends_s)
        if self._live.state.paused or not self._window.has_begun(now_s):
            return
        report = self._window.close(now_s)
        late_s = time.monotonic() - now_s
        if self._capture.is_film and late_s > 0:  # read slower than it was taken: this is news all the same
            report = replace(
                report,
                start_monotonic_s=report.start_monotonic_s + late_s,
                window_start=report.window_start + timedelta(seconds=late_s),
            )
        if self._live.state.is_trial:  # for the page alone
            self._pipeline.tell_timings(suppressed=True, published=False)
            self._live.update(report=report, seq=None)
            return
        self._pipeline.tell_timings(suppressed=report.suppressed, published=report.shares is not None)
        stored = self._store.append(report)
        self._live.update(report=stored.report, seq=stored.seq)
        self._releases.closed(stored.report, now_s)
        self._live.update(models=self._releases.told)
        self._tell_news()

    def _carry_out_requests(self) -> None:
        self._follow_pause()
        self._follow_trial()
        while not self._requests.empty():
            self._requests.get()()
        if not self._reload_asked.empty():
            while not self._reload_asked.empty():
                self._reload_asked.get()
            try:
                self._next = self._configuration()
            except CountenanceError as error:
                log.error("configuration refused, the old one stays in use: %s", error)

    # -- what others may ask for (any thread) -------------------------------------------------------------------

    def pause(self) -> None:
        """Close the camera and publish no windows until :meth:`resume`; a store on a disk remembers it over a
        restart."""
        self._store.paused = True
        if self._store.in_memory:
            log.warning("paused until the agent restarts: the pause cannot be kept, %s", self._store.reason)

    def resume(self) -> None:
        """End a pause."""
        self._store.paused = False

    def reload(self) -> None:
        """Read the configuration again and start over with it.

        Raises:
            ConfigError: it is wrong now; the agent continues with the old one.
        """
        self._configuration()
        self._reload_asked.put(None)

    def identify(self) -> None:
        """Let the device show itself: a line in the log and a sign on the page."""
        log.info("identify: this is %s (%s)", self._config.device.shown_name, self._config.device.id)
        self._live.update(identified_monotonic_s=time.monotonic())

    def set_window(self, seconds: float) -> None:
        """Close the window now and make the next ones this long, until the agent is restarted."""
        self._requests.put(lambda: self._set_window(seconds))

    def update(self) -> None:
        """Ask the updater for what the channel offers.

        Raises:
            ConfigError: there is no updates.source.
        """
        if self._config.updates.source is None:
            raise ConfigError("updates.source is not set: there is nowhere to look for models")
        self._requests.put(self._releases.ask)

    def _configuration(self) -> Config:
        if self._read_config is None:
            raise ConfigError("this agent has no configuration file that could be read again")
        return self._read_config()

    def _follow_pause(self) -> None:
        """Follow the store's pause: all who pause write it there, and a disk that appears late may have an earlier
        one."""
        paused = self._store.paused
        if paused == self._live.state.paused:
            return
        self._capture.pause(paused=paused)
        self._forget()
        self._window.restart(time.monotonic())
        self._live.update(paused=paused)
        log.info("paused" if paused else "resumed")
        self._tell_news()

    def _follow_trial(self) -> None:
        """Begin or end to try it alone. What is seen in one of the two windows never gets into the other."""
        is_trial = trial_ends_s(time.monotonic()) is not None
        if is_trial == self._live.state.is_trial:
            return
        if self._window.frames:
            self._close_window()
        self._window = self._trial_window if is_trial else self._usual_window
        self._window.restart(time.monotonic())
        self._pipeline.fill(self._window)
        self._forget()
        self._live.update(is_trial=is_trial, report=None, seq=None)
        if is_trial:
            log.warning("tried alone for a while: the page shows one person, and nothing is stored or sent")
        else:
            log.info("no longer tried alone")

    def _forget(self) -> None:
        self._pipeline.forget()
        self._releases.forget()

    def _set_window(self, seconds: float) -> None:
        self._close_window()
        self._live.update(window_s=seconds)
        self._tell_news()
        log.info("window set", extra={"seconds": seconds})

    # -- telling ------------------------------------------------------------------------------------------------

    def _tell_trouble(self, trouble: Trouble | None) -> None:
        self._live.update(trouble=trouble)
        if trouble is None:
            log.info("most faces are fine again")
        else:
            log.warning("%s: %s", *in_words(trouble, self._config.camera.rotate_deg))

    def _say_ready(self) -> None:
        if not self._config.privacy.acknowledged_use:
            log.warning(ACKNOWLEDGE_USE)
        log.info("ready", extra=dict(self._ready))
        self._notifier.ready(self._status())

    def _status(self) -> str:
        """One line for ``systemctl status``."""
        state = self._live.state
        if state.paused:
            return "paused"
        parts = [f"camera {state.camera.value}" + (f" ({state.camera_detail})" if state.camera_detail else "")]
        if state.trouble is not None:
            parts.append(": ".join(in_words(state.trouble, self._config.camera.rotate_deg)))
        if state.report is not None and state.report.frames:
            parts.append(f"{state.report.frames / max(state.report.window_s, 0.1):.0f} frames/s")
        if state.is_trial:
            parts.append("tried alone: nothing is stored or sent")
        if self._store.in_memory:
            parts.append(f"windows in memory only: {self._store.reason}")
        return ", ".join(parts)
