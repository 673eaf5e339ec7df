"""The child process of a camera: ``python -m edge_agent.cameras.reader < camera.json > pictures``."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import signal
import sys
from collections.abc import Iterator

from edge_agent.cameras import Image, Picture
from edge_agent.cameras.child import HEAD
from edge_agent.cameras.orient import orient
from edge_agent.cameras.pace import pace_of
from edge_agent.config import CameraConfig
from edge_agent.errors import CountenanceError

URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
SAMPLED = 4
"""Step between the pixels and rows that are compared with the previous picture."""


def main() -> int:
    """Open the camera of the configuration on standard input and write its pictures until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us when it wants to
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a decoder may crash, and a core dump would have pictures
    told = json.loads(sys.stdin.read())
    config = CameraConfig.model_validate(told["camera"])
    out = _claim_stdout()
    try:
        for picture in _pictures(config, told["looks_per_s"]):
            image, note = orient(picture.image, config), picture.note.encode()
            at_s = math.nan if picture.at_s is None else picture.at_s
            _write(out, HEAD.pack(*image.shape[:2], at_s, picture.lasts_s, len(note)) + note)
            _write(out, image.data.cast("B"))
        _write(out, HEAD.pack(0, 0, 0.0, 0.0, 0))
    except BrokenPipeError:
        return 0
    except CountenanceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _claim_stdout() -> int:
    """Keep the pipe for pictures alone: what a driver prints to standard output goes to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)
    return out


def _pictures(config: CameraConfig, looks_per_s: float) -> Iterator[Picture]:
    if config.backend == "replay":
        from edge_agent.cameras.film import pictures

        return pictures(config)
    return map(Picture, changing(_frames(config, pace_of(config, looks_per_s))))


def _frames(config: CameraConfig, per_s: float) -> Iterator[Image]:
    match config.backend:
        case "picamera2":
            from edge_agent.cameras.picamera2 import frames
        case "gstreamer":
            from edge_agent.cameras.gstreamer import frames
        case _ if URL.match(str(config.source)):
            from edge_agent.cameras.stream import frames
        case _:
            from edge_agent.cameras.opencv import frames
    return frames(config, per_s)


def changing(images: Iterator[Image]) -> Iterator[Image]:
    """The pictures that differ from the previous one.

    A sensor has noise, so exactly the same bytes again mean a frozen stream. They are not a new picture, and too many
    of them are a stall. The first picture proves nothing yet, and is left out.
    """
    before: bytes | None = None
    for image in images:
        sample = image[::SAMPLED, ::SAMPLED].tobytes()
        if before is not None and sample != before:
            yield image
        before = sample


def _write(out: int, data: memoryview | bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]


if __name__ == "__main__":
    sys.exit(main())
