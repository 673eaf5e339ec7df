"""USB cameras (V4L2) through OpenCV. Runs in the reader's process."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from edge_agent.cameras import Image
from edge_agent.cameras.pace import Pace
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError

# From linux/videodev2.h: struct v4l2_capability and flags of its capabilities and device_caps.
_CAPABILITY = struct.Struct("16s 32s 32s I I I 12x")
_QUERYCAP = 0x80000000 | _CAPABILITY.size << 16 | ord("V") << 8
_CAPTURES = 0x1 | 0x1000  # V4L2_CAP_VIDEO_CAPTURE, V4L2_CAP_VIDEO_CAPTURE_MPLANE
_HAS_OWN = 0x80000000  # V4L2_CAP_DEVICE_CAPS


def frames(config: CameraConfig, per_s: float) -> Iterator[Image]:
    """Frames as they arrive, thinned to ``per_s`` a second (0: all). Frames that are not due are not decoded.

    Raises:
        CameraError: it cannot be opened, or it stopped giving frames.
    """
    import cv2

    shown = f"opencv camera {config.source}"
    node = _device(config.source, shown)
    capture = cv2.VideoCapture(node, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise CameraError(f"{shown}: {_why_not(node)}")
    _ask_for(capture, config)
    pace = Pace(per_s)
    while capture.grab():
        if not pace.is_due(time.monotonic()):
            continue
        good, image = capture.retrieve()
        if not good:
            break
        yield image
    raise CameraError(f"{shown}: it stopped giving frames (unplugged)")


def _device(source: str | int, shown: str) -> str:
    """The device node of an index or path; stable names under /dev/v4l are links, which V4L2 needs resolved."""
    path = Path(f"/dev/video{source}" if str(source).isdigit() else str(source))
    if not path.exists():
        raise CameraError(f"{shown}: {path} does not exist; list cameras with: ls /dev/v4l/by-id")
    return str(path.resolve())


def _why_not(node: str) -> str:
    if not os.access(node, os.R_OK | os.W_OK):
        return f"no permission for {node}; add the user to the group 'video'"
    if not can_capture(node):
        return f"{node} captures nothing (some cameras have a second node, for metadata); see: v4l2-ctl --list-devices"
    return f"{node} is busy; see which program uses it with: fuser -v {node}"


def can_capture(node: str) -> bool:
    """Whether the node says that it captures video; V4L2 allows the question while another program streams."""
    try:
        descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        # Some drivers allow only one program.
        return error.errno == errno.EBUSY
    try:
        answer = fcntl.ioctl(descriptor, _QUERYCAP, bytes(_CAPABILITY.size))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    *_, of_all_nodes, of_this_node = _CAPABILITY.unpack(answer)
    return bool((of_this_node if of_all_nodes & _HAS_OWN else of_all_nodes) & _CAPTURES)


def _ask_for(capture: object, config: CameraConfig) -> None:
    """Request size, pace and a short queue; a camera that cannot do it chooses the nearest."""
    import cv2

    for key, value in (
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),  # USB 2 carries raw 640x480 only at low rates
        (cv2.CAP_PROP_FRAME_WIDTH, config.width_px),
        (cv2.CAP_PROP_FRAME_HEIGHT, config.height_px),
        (cv2.CAP_PROP_FPS, config.fps),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ):
        if value:
            capture.set(key, value)  # type: ignore[attr-defined]
