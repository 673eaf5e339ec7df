"""Where pictures come from: one file for each kind of camera, chosen by ``camera.backend``.

Live cameras run in a child process that writes raw frames to a pipe (:mod:`edge_agent.cameras.child`): a driver that
never returns from a read can be killed, and what it leaked goes with it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import CameraConfig

Image = NDArray[np.uint8]
"""BGR pixels, shape (height, width, 3), 0 to 255."""


class Camera(Protocol):
    """The one thing that every source of pictures can do."""

    def read(self) -> Image | None:
        """Block until the next picture; None at the end of a film that does not loop.

        Raises:
            CameraError: absent, busy, gone or silent for too long; close it and open a new one.
        """

    def close(self) -> None:
        """Give the device back; may be called twice and from another thread than :meth:`read`."""


def open_camera(config: CameraConfig) -> Camera:
    """Open the camera that the configuration names.

    Raises:
        CameraError: it cannot be opened.
        InputError: replay's file cannot be read.
        MissingPackageError: the backend's package or program is not installed.
    """
    match config.backend:
        case "replay":
            from edge_agent.cameras.replay import ReplayCamera

            return ReplayCamera(config)
        case "gstreamer":
            from edge_agent.cameras.gstreamer import open_gstreamer

            return open_gstreamer(config)
        case "opencv" | "picamera2":
            from edge_agent.cameras.child import open_child

            return open_child(config)
