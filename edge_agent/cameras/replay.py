"""Pictures and films instead of a camera: for demos, tests and benchmarks, and for whoever has a recording."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from edge_agent.cameras import Image
from edge_agent.cameras.picture_files import PICTURE_SUFFIXES, read_picture
from edge_agent.config import CameraConfig
from edge_agent.errors import InputError

log = logging.getLogger(__name__)

SLACK_S, SLACK_PART = 0.5, 0.05
"""A film may end so much before the length that its file promises: sound is often longer, and lengths are rounded."""


class ReplayCamera:
    """A picture, a folder of pictures in the order of their names, or a film, paced at ``camera.fps``.

    At ``fps`` 0 it gives the next picture as soon as it is asked. A single picture is repeated while ``loop`` is true.
    A film that is cut off gives what can be read; then it ends with an error, or with a warning and from the start.

    Raises:
        InputError: the source is missing, holds no pictures, cannot be decoded, or is a film that ends too early.
    """

    def __init__(self, config: CameraConfig) -> None:
        self._path = Path(str(config.source))
        self._loop = config.loop
        self._warned = False
        self._interval_s = 1.0 / config.fps if config.fps else 0.0
        self._due_s = time.monotonic()
        self._images = self._endless() if config.loop else self._once()
        if not self._path.exists():
            raise InputError(f"replay: {self._path} does not exist; camera.source names a picture, a folder or a film")

    def read(self) -> Image | None:
        """The next picture at its time; see :class:`edge_agent.cameras.Camera`."""
        wait_s = self._due_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        self._due_s = max(self._due_s, time.monotonic() - self._interval_s) + self._interval_s
        return next(self._images, None)

    def close(self) -> None:
        """Nothing to give back: files are closed as they are read."""

    def _endless(self) -> Iterator[Image]:
        """Over and over; a single picture is decoded once."""
        if self._path.suffix.lower() in PICTURE_SUFFIXES:
            image = read_picture(self._path)
            while True:
                yield image
        while True:
            yield from self._once()

    def _once(self) -> Iterator[Image]:
        if self._path.is_dir():
            return self._folder()
        if self._path.suffix.lower() in PICTURE_SUFFIXES:
            return iter([read_picture(self._path)])
        return self._film()

    def _folder(self) -> Iterator[Image]:
        paths = sorted(path for path in self._path.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
        if not paths:
            raise InputError(f"replay: {self._path} holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))})")
        return (read_picture(path) for path in paths)

    def _film(self) -> Iterator[Image]:
        import cv2

        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        try:
            good, image = capture.read()
            if not good:
                raise InputError(f"replay: {self._path} is neither a picture nor a film that can be decoded")
            frames, last_s = 0, 0.0
            while good:
                frames, last_s = frames + 1, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                yield image
                good, image = capture.read()
            promised, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        finally:
            capture.release()
        if not is_whole(promised, fps, frames, last_s):
            self._say_cut_off(f"{frames} frames of {promised:.0f}")

    def _say_cut_off(self, read: str) -> None:
        problem = f"replay: {self._path} is damaged or cut off: {read} could be read"
        if not self._loop:
            raise InputError(problem)
        if not self._warned:
            log.warning(problem)
            self._warned = True


def is_whole(promised: float, fps: float, frames: int, last_s: float) -> bool:
    """Whether a film went as far as its file promised; the decoder ends a damaged one as it ends a whole one.

    Where frames come at uneven times, the file's number is its length times the highest rate, so that the time of the
    last frame tells; where times are not known it is the number of frames.

    Args:
        promised: frames; not above 0 where the file says nothing.
        fps: frames a second.
        frames: how many were read.
        last_s: when the last of them is shown, seconds from the start; 0 where that is not known.
    """
    return max(frames, last_s * fps + 1) >= promised - max(SLACK_S * fps, SLACK_PART * promised)
