"""Clocks that stand still, or whose wall time is stepped as NTP steps it on a machine that booted in the past."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

from edge_agent.host.clock import Clock


class StandingClock(Clock):
    """Always the first moment of monotonic time, on a wall clock that shows ``wall_time``."""

    def __init__(self, wall_time: datetime) -> None:
        self._wall_time = wall_time

    def wall(self) -> datetime:
        return self._wall_time

    def monotonic_s(self) -> float:
        return 0.0


class SteppedClock(Clock):
    """Starts right and unsynchronised; ``forward_s`` moves both clocks, ``off`` only the wall clock."""

    def __init__(self, synced: bool = False, boot: str = "boot-1") -> None:
        self.off = timedelta(0)
        self.forward_s = 0.0
        self.synced = synced
        self.boot = boot

    def wall(self) -> datetime:
        return datetime.now(timezone.utc) + self.off + timedelta(seconds=self.forward_s)

    def monotonic_s(self) -> float:
        return time.monotonic() + self.forward_s

    def synchronised(self) -> bool:
        return self.synced

    @property
    def boot_id(self) -> str:
        return self.boot
