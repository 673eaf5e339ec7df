"""Wall time, monotonic time and whether the wall clock can be trusted.

A Raspberry Pi without a battery-backed clock boots at the time of its last shutdown and jumps when NTP answers, So
intervals are monotonic, and a wall time is only trusted once the kernel says that it is synchronised.
"""

from __future__ import annotations

import ctypes
import functools
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

TIME_ERROR = 5
"""adjtimex(2): "the system clock is not synchronized to a reliable server"."""

_TIMEX_BYTES = 512
"""More than ``struct timex`` needs on any architecture (208 on 64-bit Linux); all zero means "only read"."""


class Clock:
    """The machine's clocks; tests hand in a subclass whose wall clock can be stepped."""

    def wall(self) -> datetime:
        """UTC, from the wall clock, which may jump."""
        return datetime.now(timezone.utc)

    def monotonic_s(self) -> float:
        """Seconds of :func:`time.monotonic`: the same for every process since the machine booted."""
        return time.monotonic()

    def synchronised(self) -> bool:
        """Whether the kernel's clock follows a reference (NTP, PTP, GPS)."""
        return kernel_clock_synchronised()

    @property
    def boot_id(self) -> str:
        """Names this boot of the machine; a new one with each boot."""
        return _boot_id()

    def wall_at(self, monotonic_s: float) -> datetime:
        """The time of an earlier moment of this boot, by the wall clock as it is now; UTC, to the millisecond."""
        moment = self.wall() - timedelta(seconds=self.monotonic_s() - monotonic_s)
        return to_millisecond(moment)


def kernel_clock_synchronised() -> bool:
    """Ask the kernel with adjtimex(2), which needs no privilege; False if it does not answer."""
    adjtimex = _adjtimex()
    if adjtimex is None:
        return False
    state = adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return 0 <= state < TIME_ERROR


@functools.lru_cache(maxsize=1)
def _adjtimex() -> Callable[..., int] | None:
    try:
        function = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_int
    return function


@functools.lru_cache(maxsize=1)
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        # Without an id nothing may be re-stamped across processes: a made-up one matches only this process.
        return str(uuid.uuid4())


def to_millisecond(moment: datetime) -> datetime:
    """Cut to whole milliseconds."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def epoch_ms(moment: datetime) -> int:
    """Milliseconds since 1970-01-01T00:00Z; exact for times cut to the millisecond."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_epoch_ms(milliseconds: int) -> datetime:
    """The UTC time of :func:`epoch_ms`."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
