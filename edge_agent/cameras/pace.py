"""Thins frames: a live camera's before they are decoded, converted or copied."""

from __future__ import annotations

from edge_agent.config import CameraConfig


def pace_of(config: CameraConfig, looks_per_s: float) -> float:
    """Frames a second that a live camera passes on: the smaller of ``camera.fps`` and the looks; 0 is every frame."""
    return min(filter(None, (config.fps, looks_per_s)), default=0.0)


class Pace:
    """Says of each frame whether it is due.

    A frame may come up to half an interval early, so a camera of exactly this rate loses no frame to its jitter. Over
    time no more than ``fps`` frames a second pass.

    Args:
        fps: frames a second; 0 lets every frame pass.
    """

    def __init__(self, fps: float) -> None:
        self._interval_s = 1.0 / fps if fps else 0.0
        self._due_s = float("-inf")

    def is_due(self, at_s: float) -> bool:
        """Whether the frame that came at this moment passes."""
        early_s = self._due_s - at_s
        if early_s > self._interval_s / 2:
            return False
        # Counted from when it was due, so that jitter does not add up. After a gap counted from now, so that no burst
        # follows.
        self._due_s = self._interval_s + (self._due_s if abs(early_s) <= self._interval_s / 2 else at_s)
        return True
