"""The agent: it joins camera, pipeline, store, publisher and page, and keeps them going until it is told to stop."""

from __future__ import annotations

import logging
import queue
import secrets
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from edge_agent.capture import LatestFrame
from edge_agent.classifier import load_classifier
from edge_agent.config import Config, load_config
from edge_agent.config_fit import check_fit
from edge_agent.detectors import load_detector
from edge_agent.errors import ConfigError, CountenanceError
from edge_agent.health import Health
from edge_agent.live import CameraState, Live
from edge_agent.logs import setup
from edge_agent.pipeline import Pipeline
from edge_agent.privacy import ACKNOWLEDGE_USE
from edge_agent.services import start_services
from edge_agent.store import open_store
from edge_agent.systemd import Notifier
from edge_agent.types import Frame
from edge_agent.window import Window

log = logging.getLogger(__name__)

ReloadAsked = queue.SimpleQueue[None]
"""What a signal may interrupt anywhere and still be put into, unlike an Event, whose lock it may already hold."""

TURN_S = 0.2
"""Longest wait for a frame, so that windows close and the watchdog is fed while the camera is away."""


def run_agent(path: Path | None) -> int:
    """``edge-agent run``: work until SIGTERM or SIGINT, or until a replay that does not loop is over.

    SIGHUP, like the MQTT command ``reload``, reads the configuration again. A wrong one is reported and not taken, and
    one that turns out not to work before its first window is given up for the one before.

    Returns:
        0.
    """
    stop, reload_asked = threading.Event(), ReloadAsked()
    # First of all, so that a stop while the model loads is a clean one, too, and no wish to reload is ever lost.
    _listen_to_signals(stop, reload_asked)
    config: Config | None = load_config(path)
    previous: Config | None = None
    while config is not None and not stop.is_set():
        setup(config.log)
        agent = None
        try:
            agent = Agent(config, lambda: load_config(path), reload_asked)
            config, previous = agent.run(stop), config
        except CountenanceError as error:
            if previous is None or (agent is not None and agent.live.state.report is not None):
                raise
            log.error("the new configuration does not work, the old one goes on: %s", error)
            config, previous = previous, None
    return 0


def _listen_to_signals(stop: threading.Event, reload_asked: ReloadAsked) -> None:
    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        stop.set()

    signal.signal(signal.SIGTERM, ask_to_stop)
    signal.signal(signal.SIGINT, ask_to_stop)
    signal.signal(signal.SIGHUP, lambda _number, _frame: reload_asked.put(None))


class Agent:
    """Everything is loaded and checked here, so that a wrong setting is an error before anything starts.

    Camera and broker may be absent: they are waited for while the agent runs. The methods ``pause``, ``resume``,
    ``reload``, ``identify`` and ``set_window`` may be called from any thread; the loop carries them out.

    Args:
        config: the configuration.
        read_config: reads it again and raises ConfigError if it is wrong now; None where it came from no file.
        reload_asked: filled by whoever wants that; what comes too late for this agent is for the next one to see.

    Raises:
        CountenanceError: ConfigError, ModelError, DetectorError, StoreError or MissingPackageError, as the parts do.
    """

    def __init__(
        self,
        config: Config,
        read_config: Callable[[], Config] | None = None,
        reload_asked: ReloadAsked | None = None,
    ) -> None:
        self.config = config
        self.session = secrets.token_hex(8)
        self.live = Live()
        self.live.update(window_s=config.window.seconds)
        self.health = Health()
        self._notifier = Notifier()
        self._read_config = read_config
        self._reload_asked = ReloadAsked() if reload_asked is None else reload_asked
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._next: Config | None = None
        self.classifier = load_classifier(config.model)
        self.classifier.self_test()
        check_fit(config, lambda: self.classifier.labels)
        info = self.classifier.model.info
        self.model_id = f"{info.name}@{info.sha256[:12]}"
        self.detector = load_detector(config.detector)
        self.store = open_store(config.store, self.session, self.model_id)
        estimator = self.classifier.head.share_estimator(self.classifier.labels)
        self._window = Window(config.window, config.privacy, estimator)
        self._pipeline = Pipeline(self.detector, self.classifier, self._window, self.health.observe, config.faces)
        self._capture = LatestFrame(config.camera, self._camera_changed, self.health.observe)

    def run(self, stop: threading.Event) -> Config | None:
        """Work until ``stop`` is set, a film is over, or a reload was asked for: then the new configuration comes back.

        Raises:
            CountenanceError: a replay's file cannot be read, or a camera's package is missing.
        """
        with ExitStack() as stack:
            stack.callback(self.store.close)
            self._wake_publisher = start_services(self, stack)
            stack.callback(self._capture.stop)
            self._follow_pause()  # before the camera is opened, whose light would come on
            self._capture.start()
            self._say_ready()
            try:
                self._loop(stop)
            finally:
                if self._next is None:  # STOPPING=1 would make systemd wait for the end of this process
                    self._notifier.stopping()
                # A camera that cannot be opened at all has seen no window, not even an empty one.
                if self._capture.failure is None or self._window.frames:
                    self._close_window()
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
            self.health.total("frames_captured", self._capture.captured)
            self.health.total("frames_dropped", self._capture.dropped)
            self._carry_out_requests()
            if self._window.due(time.monotonic()):
                self._close_window()
            # Here, and only here: a detector or a model that hangs never comes back to this line.
            self._notifier.watchdog()
            self._notifier.status(self._status())

    def _process(self, frame: Frame) -> None:
        # After a long gap everybody is new to the tracker: in one window, those who stayed would count twice.
        if self._window.frames and not self._pipeline.bridges(frame.captured_monotonic_s):
            self._close_window()
        self._pipeline.process(frame)
        self.health.count("frames_processed")
        self.health.gauge("last_frame_monotonic_s", frame.captured_monotonic_s)

    def _close_window(self) -> None:
        now_s = time.monotonic()
        if self.live.state.paused or not self._window.has_begun(now_s):
            return
        report = self._window.close(now_s)
        self._pipeline.tell_timings(report.suppressed, published=report.shares is not None)
        stored = self.store.append(report)
        self.live.update(report=stored.report, seq=stored.seq)
        self._wake_publisher()

    def _carry_out_requests(self) -> None:
        self._follow_pause()
        while not self._requests.empty():
            self._requests.get()()
        if not self._reload_asked.empty():
            while not self._reload_asked.empty():
                self._reload_asked.get()
            try:
                self._next = self._configuration()
            except CountenanceError as error:
                log.error("configuration not taken, the old one goes on: %s", error)

    # -- what others may ask for (any thread) -------------------------------------------------------------------

    def pause(self) -> None:
        """Close the camera and publish no windows until :meth:`resume`; a store on a disk keeps it over a restart."""
        self.store.paused = True
        if self.store.in_memory:
            log.warning("paused until the agent restarts: the pause cannot be kept, %s", self.store.reason)

    def resume(self) -> None:
        """End a pause."""
        self.store.paused = False

    def reload(self) -> None:
        """Read the configuration again and start over with it.

        Raises:
            ConfigError: it is wrong now; the agent goes on with the old one.
        """
        self._configuration()
        self._reload_asked.put(None)

    def identify(self) -> None:
        """Let the device show itself: a line in the log and a sign on the page."""
        log.info("identify: this is %s (%s)", self.config.device.name, self.config.device.id)
        self.live.update(identified_monotonic_s=time.monotonic())

    def set_window(self, seconds: float) -> None:
        """Close the window now and make the next ones this long, until the agent is restarted."""
        self._requests.put(lambda: self._set_window(seconds))

    def _configuration(self) -> Config:
        if self._read_config is None:
            raise ConfigError("this agent has no configuration file that could be read again")
        return self._read_config()

    def _follow_pause(self) -> None:
        """Do as the store says: whoever pauses tells it, and a disk that comes late may bring an earlier pause."""
        paused = self.store.paused
        if paused == self.live.state.paused:
            return
        self._capture.pause(paused)
        self._pipeline.forget()
        self._window.restart(time.monotonic())
        self.live.update(paused=paused)
        log.info("paused" if paused else "resumed")
        self._wake_publisher()

    def _set_window(self, seconds: float) -> None:
        self._close_window()
        self._window.set_seconds(seconds)
        self.live.update(window_s=seconds)
        log.info("window set", extra={"seconds": seconds})

    # -- telling ------------------------------------------------------------------------------------------------

    def _camera_changed(self, state: CameraState, detail: str) -> None:
        if state is not self.live.state.camera:
            log.info("camera %s", state.value, extra={"detail": detail} if detail else {})
        self.live.update(camera=state, camera_detail=detail)

    def _say_ready(self) -> None:
        if not self.config.privacy.acknowledged_use:
            log.warning(ACKNOWLEDGE_USE)
        log.info(
            "ready",
            extra={
                "device": self.config.device.id,
                "session": self.session,
                "detector": self.detector.kind,
                "model": self.model_id,
                "runtime": self.classifier.runtime_name,
                "camera": self.config.camera.backend,
                "store": "memory" if self.store.in_memory else str(self.config.store.path),
            },
        )
        self._notifier.ready(self._status())

    def _status(self) -> str:
        """One line for ``systemctl status``."""
        state = self.live.state
        if state.paused:
            return "paused"
        parts = [f"camera {state.camera.value}" + (f" ({state.camera_detail})" if state.camera_detail else "")]
        if state.report is not None and state.report.frames:
            parts.append(f"{state.report.frames / max(state.report.window_s, 0.1):.0f} frames/s")
        if self.store.in_memory:
            parts.append(f"windows in memory only: {self.store.reason}")
        return ", ".join(parts)
