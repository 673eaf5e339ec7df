"""Where pictures come from: one file for each kind of camera, chosen by ``camera.backend``.

All of them run in a child process that writes pictures to a pipe (:mod:`edge_agent.cameras.reader`): a driver that
never returns from a read can be killed, its leaked memory is freed, and a decoder that crashes ends nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import CameraConfig

Image = NDArray[np.uint8]
"""BGR pixels, shape (height, width, 3), 0 to 255."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture from a camera, with its time."""

    image: Image
    at_s: float | None = None
    """Seconds since a film's beginning, by its own time stamps; None of a live camera, whose time is now."""
    lasts_s: float = 0.0
    """Seconds for which a film shows it."""
    note: str = ""
    """A note for the log, given once."""


class Camera(Protocol):
    """The interface of every source of pictures."""

    def read(self) -> Picture | None:
        """Block until the next picture; None at the end of a film that does not loop.

        Raises:
            CameraError: absent, busy, gone or without a new picture for too long; close it and open a new one.
            InputError: a film, picture or folder cannot be read.
        """

    def close(self) -> None:
        """Give the device back; may be called twice and from another thread than :meth:`read`."""


def open_camera(config: CameraConfig, looks_per_s: float = 0.0) -> Camera:
    """Open the camera that the configuration names; it gives at most ``looks_per_s`` pictures a second; 0 means all.

    Raises:
        CameraError: it cannot be opened.
        InputError: replay's file cannot be read.
        MissingPackageError: the backend's package or program is not installed.
    """
    from edge_agent.cameras.child import open_child
    from edge_agent.cameras.replay import ReplayCamera

    return (ReplayCamera if config.backend == "replay" else open_child)(config, looks_per_s)
