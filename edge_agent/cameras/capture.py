"""The capture thread: it keeps the newest frame, and opens a lost camera again."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from edge_agent.cameras import Camera, Picture, open_camera
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError, CameraStalledError
from edge_agent.types import CameraState, Frame, Observe

log = logging.getLogger(__name__)

FIRST_WAIT_S = 1.0
SETTLED_AFTER_S = 30.0
"""A camera that ran this long starts again with the shortest wait."""

CameraReport = Callable[[CameraState, str], None]


class LatestFrame:
    """One slot for the newest frame, filled by a thread.

    A slow pipeline never falls behind a live camera: frames that were not fetched in time are replaced and counted. A
    film waits for the pipeline instead. Its frames have the film's time, counted on the monotonic clock from its
    opening. So the times between frames are the same at any speed and in every run.

    Args:
        config: the camera.
        report: called from the capture thread when the camera's state changes.
        observe: called with "read" and the seconds that each frame took to arrive.
        looks_per_s: most frames a second that are asked for; 0 asks for all.
    """

    def __init__(
        self,
        config: CameraConfig,
        report: CameraReport,
        observe: Observe = lambda *_: None,
        *,
        looks_per_s: float = 0.0,
    ) -> None:
        self._config = config
        self._looks_per_s = looks_per_s
        self._report = report
        self._observe = observe
        self.is_film = config.backend == "replay"
        """Whether frames have the film's time, which windows follow, and no frame is dropped."""
        self.film_s = 0.0
        """Where in the film the pipeline is: the end of the last frame that was fetched, on the monotonic clock."""
        self._film_read_s = 0.0
        self._slot: Frame | None = None
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._paused = False
        self._camera: Camera | None = None
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self.captured = 0
        """Frames that the camera delivered."""
        self.dropped = 0
        """Frames that were replaced before the pipeline fetched them."""
        self.failure: BaseException | None = None
        """What ended the thread: an input that cannot be read, a missing package, or a defect."""
        self._over = False

    @property
    def ended(self) -> bool:
        """Whether no more frames will come: a film is over and its last frame fetched, or the thread failed."""
        return self._over and self._slot is None

    def start(self) -> None:
        """Open the camera in the background."""
        self._thread.start()

    def get(self, timeout_s: float) -> Frame | None:
        """Wait for the next frame and take it out of the slot; None when the time is over or the film ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self._over, timeout_s)
            frame, self._slot = self._slot, None
            if frame is not None:
                self.film_s = self._film_read_s
            self._changed.notify_all()
            return frame

    def pause(self, *, paused: bool) -> None:
        """Close the camera while paused, so that its light goes out; open it again afterwards."""
        with self._changed:
            self._paused = paused
            self._slot = None
            self._changed.notify_all()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the thread and give the camera back; a camera that hangs is not waited for."""
        with self._changed:
            self._stop.set()
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._thread.is_alive() and self._camera is not None:
            self._camera.close()  # ends a read that is waiting for a frame

    def _run(self) -> None:
        """The thread: what ends it is kept in ``failure``, which the loop raises."""
        try:
            self._keep_reading()
        except Exception as error:  # noqa: BLE001 (a thread's boundary: the main thread raises it again)
            if not self._stop.is_set():  # a film that we closed in the middle has not failed
                self.failure = error
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _keep_reading(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self._stop.is_set():
            self._wait_while_paused()
            if self._stop.is_set():  # not even for a moment: its light would come on
                return
            started_s = time.monotonic()
            try:
                if not self._read_until_lost():
                    self._report(CameraState.ENDED, "the film is over")
                    return
            except CameraError as error:
                if self._stop.is_set():
                    return
                wait_s = FIRST_WAIT_S if time.monotonic() - started_s > SETTLED_AFTER_S else wait_s
                self._say_lost(error, wait_s)
                self._sleep(wait_s)
                wait_s = min(wait_s * 2, self._config.reopen_max_s)

    def _read_until_lost(self) -> bool:
        """Read until the camera is to be closed (True) or the film is over (False)."""
        self._camera = camera = open_camera(self._config, self._looks_per_s)
        running = False
        # In whole seconds, and film times in whole 2**-20 s: a double holds their sums exactly, whatever the start.
        began_s = float(math.ceil(max(time.monotonic(), self._film_read_s)))
        try:
            while not (self._stop.is_set() or self._paused):
                asked_s = time.monotonic()
                picture = camera.read()
                if picture is None:
                    return False
                if not running:
                    self._report(CameraState.RUNNING, "")
                    running = True
                self._observe("read", time.monotonic() - asked_s)
                self._put(picture, began_s)
            return True
        finally:
            camera.close()

    def _put(self, picture: Picture, began_s: float) -> None:
        with self._changed:
            if self.is_film:
                self._changed.wait_for(lambda: self._slot is None or self._stop.is_set() or self._paused)
            if self._paused:
                return
            self.dropped += self._slot is not None
            captured_s = time.monotonic()
            if picture.at_s is not None:
                captured_s = began_s + _exact(picture.at_s)
                self._film_read_s = captured_s + _exact(picture.lasts_s)
            self._slot = Frame(picture.image, captured_s)
            self.captured += 1
            self._changed.notify_all()

    def _say_lost(self, error: CameraError, wait_s: float) -> None:
        self._report(CameraState.STALLED if isinstance(error, CameraStalledError) else CameraState.GONE, str(error))
        log.warning("camera lost", extra={"error": str(error), "retry_s": wait_s})

    def _sleep(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stop.is_set(), seconds)

    def _wait_while_paused(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stop.is_set() or not self._paused)


def _exact(seconds: float) -> float:
    """To the nearest 2**-20 s (a microsecond)."""
    return round(seconds * 2**20) / 2**20
