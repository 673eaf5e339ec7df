"""Pictures and films instead of a camera: for demos, tests, benchmarks and recordings."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from edge_agent.cameras import Picture
from edge_agent.cameras.child import open_child
from edge_agent.cameras.pace import Pace
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError, InputError

log = logging.getLogger(__name__)


class ReplayCamera:
    """A picture, a folder of pictures or a film, read in a child and handed on at a pace.

    ``camera.fps`` is only how fast it is read, in pictures a second. 0 means as fast as possible, null the film's own
    pace. Each picture has the film's time, at any pace. Of each second of that time, ``looks_per_s`` pictures are
    passed on; 0 means all.

    Raises:
        InputError: the source is missing, holds no pictures, cannot be decoded, or is a film that ends too early.
    """

    def __init__(self, config: CameraConfig, looks_per_s: float = 0.0) -> None:
        self._pace = Pace(looks_per_s)
        self._fps = config.fps
        self._closed = threading.Event()
        self._due_s = self._at_s = 0.0
        with _as_input():
            self._camera = open_child(config)

    def read(self) -> Picture | None:
        """The next picture at its time; see :class:`edge_agent.cameras.Camera`."""
        while (picture := self._next()) is not None:
            if picture.note:
                log.warning(picture.note)
            at_s = picture.at_s or 0.0
            self._wait(at_s)
            if self._pace.is_due(at_s):
                break
        return picture

    def close(self) -> None:
        """End the child, and a wait for the next picture's time."""
        self._closed.set()
        self._camera.close()

    def _next(self) -> Picture | None:
        with _as_input():
            return self._camera.read()

    def _wait(self, at_s: float) -> None:
        """Wait until this picture is due; after a delay there is no catching up."""
        step_s = at_s - self._at_s if self._fps is None else 1.0 / self._fps if self._fps else 0.0
        now_s = time.monotonic()
        self._due_s, self._at_s = max(self._due_s + step_s, now_s - step_s), at_s
        self._closed.wait(max(0.0, self._due_s - now_s))


@contextmanager
def _as_input() -> Iterator[None]:
    """The film ended the child."""
    try:
        yield
    except CameraError as error:
        raise InputError(str(error)) from error
