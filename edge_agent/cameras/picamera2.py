"""Raspberry Pi cameras on the CSI port. Runs in the reader's process; the package comes from apt."""

from __future__ import annotations

import time
from collections.abc import Iterator

from edge_agent.cameras import Image
from edge_agent.cameras.pace import Pace
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError, MissingPackageError


def frames(config: CameraConfig, per_s: float) -> Iterator[Image]:
    """Frames as they arrive, thinned to ``per_s`` a second (0: all). Frames that are not due are not copied.

    Raises:
        CameraError: no such camera, or it is busy.
        MissingPackageError: picamera2 is not installed.
    """
    try:
        from picamera2 import Picamera2
    except ImportError as error:
        raise MissingPackageError(
            f"picamera2 camera: the package cannot be imported ({error}); on Raspberry Pi OS: sudo apt install "
            "python3-picamera2, and make the environment with --system-site-packages"
        ) from error
    number = _number(config)
    try:
        camera = Picamera2(number)
        # libcamera's "RGB888" is BGR in memory, as OpenCV needs it.
        camera.configure(camera.create_video_configuration(main={"size": _size(config), "format": "RGB888"}))
        if config.fps:
            camera.set_controls({"FrameRate": config.fps})
        camera.start()
    except (RuntimeError, IndexError) as error:
        raise CameraError(
            f"picamera2 camera {number}: {error}; check the ribbon cable and: rpicam-hello --list-cameras"
        ) from error
    try:
        pace = Pace(per_s)
        while True:
            request = camera.capture_request()
            try:
                image = request.make_array("main") if pace.is_due(time.monotonic()) else None
            finally:
                request.release()
            if image is not None:
                yield image
    finally:
        camera.close()


def _number(config: CameraConfig) -> int:
    if not str(config.source).isdigit():
        raise CameraError(f"picamera2 camera {config.source!r}: camera.source must be the camera's number, e.g. 0")
    return int(config.source)


def _size(config: CameraConfig) -> tuple[int, int]:
    return config.width_px, config.height_px
