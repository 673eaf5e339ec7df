"""What the agent knows right now: written by the pipeline, read by the page, health and systemd's status line.

It holds no picture and nothing about a single person: see :class:`LiveState`.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import Any

from edge_agent.types import CameraState, ModelsState, Trouble, WindowReport

log = logging.getLogger(__name__)


STALE_WINDOWS, STALE_MARGIN_S = 3.0, 5.0
"""After this many window lengths and seconds without a new window, figures count as out of date."""


@dataclass(frozen=True, slots=True)
class LiveState:
    """One consistent look at the agent."""

    version: int = 0
    """Grows with every change."""
    camera: CameraState = CameraState.STARTING
    camera_detail: str = ""
    """Why the camera is not running, in one line. It may have the camera's address: for the log, not for the page."""
    trouble: Trouble | None = None
    """What most faces suffer from; None where they are fine, or too few were seen to tell."""
    paused: bool = False
    window_s: float = 0.0
    """Length of windows as it is now; the command ``set_window`` changes it."""
    report: WindowReport | None = None
    """The window that was closed last, in this session."""
    seq: int | None = None
    """Its number in the store."""
    is_trial: bool = False
    """Whether somebody tries it alone: ``report`` is then for the page alone, and in no store."""
    models: ModelsState | None = None
    """Which models are in use; None before they are."""
    identified_monotonic_s: float | None = None
    """When somebody last asked this device to show itself."""

    @property
    def camera_state(self) -> str:
        """One word: ``paused``, what most faces suffer from while pictures come, or what the camera is doing."""
        if self.paused:
            return "paused"
        if self.camera is CameraState.RUNNING and self.trouble is not None:
            return self.trouble.value
        return self.camera.value

    @property
    def measures(self) -> bool:
        """Whether pictures arrive and are read."""
        return self.camera is CameraState.RUNNING and not self.paused

    def report_age_s(self, now_monotonic_s: float) -> float | None:
        """Seconds since the last window was closed; None before the first."""
        if self.report is None:
            return None
        return max(0.0, now_monotonic_s - self.report.start_monotonic_s - self.report.window_s)

    @property
    def stale_after_s(self) -> float | None:
        """Age in seconds at which the last window's figures become out of date; None before the first."""
        if self.report is None:
            return None
        # It may have been cut short: the camera went away, or the length was changed.
        return max(self.report.window_s, self.window_s) * STALE_WINDOWS + STALE_MARGIN_S


class Live:
    """A thread-safe slot for the current :class:`LiveState`, with waiting for changes.

    Args:
        window_s: how long windows last, in seconds; ``update`` changes it.
    """

    def __init__(self, window_s: float = 0.0) -> None:
        self._state = LiveState(window_s=window_s)
        self._changed = threading.Condition()

    @property
    def state(self) -> LiveState:
        """The latest state."""
        return self._state

    def update(self, **changes: Any) -> LiveState:
        """Replace fields of the state and wake all who wait; if nothing really changes, nothing happens."""
        with self._changed:
            new = replace(self._state, **changes)
            if new != self._state:
                self._state = replace(new, version=self._state.version + 1)
                self._changed.notify_all()
            return self._state

    def camera_changed(self, state: CameraState, detail: str) -> None:
        """The camera is in this state now; ``detail`` says why it is not running."""
        if state is not self._state.camera:
            log.info("camera %s", state.value, extra={"detail": detail} if detail else {})
        self.update(camera=state, camera_detail=detail)

    def wait(self, seen_version: int, timeout_s: float) -> LiveState:
        """Wait until the version differs from ``seen_version`` or the time is over, then return the state."""
        with self._changed:
            self._changed.wait_for(lambda: self._state.version != seen_version, timeout_s)
            return self._state
