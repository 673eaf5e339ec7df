"""The child process of a live camera: ``python -m edge_agent.cameras.reader < camera-config.json > frames``."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator

import numpy as np

from edge_agent.cameras import Image
from edge_agent.config import CameraConfig
from edge_agent.errors import CountenanceError


def main() -> int:
    """Open the camera of the configuration on standard input and write its frames until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us in its order
    config = CameraConfig.model_validate_json(sys.stdin.read())
    out = _claim_stdout()
    try:
        frames = _frames(config)
        first = next(frames)
        height, width = first.shape[:2]
        _write(out, (json.dumps({"width": width, "height": height, "stride": width * 3}) + "\n").encode())
        _write(out, np.ascontiguousarray(first).data.cast("B"))
        for image in frames:
            _write(out, np.ascontiguousarray(image).data.cast("B"))
    except BrokenPipeError:
        return 0
    except CountenanceError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _claim_stdout() -> int:
    """Keep the pipe for frames alone: whatever a driver prints to standard output goes to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)
    return out


def _frames(config: CameraConfig) -> Iterator[Image]:
    if config.backend == "picamera2":
        from edge_agent.cameras.picamera2 import frames
    else:
        from edge_agent.cameras.opencv import frames
    return frames(config)


def _write(out: int, data: memoryview | bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]


if __name__ == "__main__":
    sys.exit(main())
