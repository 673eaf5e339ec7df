"""Pictures and films instead of a camera: for demos, tests and benchmarks, and for whoever has a recording."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from edge_agent.cameras import Image
from edge_agent.config import CameraConfig
from edge_agent.errors import InputError
from edge_agent.pictures import PICTURE_SUFFIXES, read_picture


class ReplayCamera:
    """A picture, a folder of pictures in the order of their names, or a film, paced at ``camera.fps``.

    At ``fps`` 0 it gives the next picture as soon as it is asked. A single picture is repeated while ``loop`` is true.

    Raises:
        InputError: the source is missing, holds no pictures, or cannot be decoded.
    """

    def __init__(self, config: CameraConfig) -> None:
        self._path = Path(str(config.source))
        self._loop = config.loop
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
            while good:
                yield image
                good, image = capture.read()
        finally:
            capture.release()
