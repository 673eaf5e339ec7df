"""Is an emotion more or less common than an hour ago, than yesterday, than usual at this hour? Said where it is known.

The rolling estimate is compared, in which everybody counts once (:mod:`edge_agent.shares.rolling`): single windows
count whoever stays again and again, and would look far more certain than they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum

from edge_agent.live import LiveState
from edge_agent.shares.pool import pooled
from edge_agent.store import Store
from edge_agent.store.trend import Corrector
from edge_agent.types import Shares, StoredWindow

APART = 2.0
"""Two shares differ where their 90 % intervals do not meet, though each is made this many times as wide.

As they are they would often tell a crowd from itself: seven emotions are looked at, and an interval is about those who
were seen, not about who might have come. ``tests/kiosk/test_comparison.py`` measures how seldom it happens now.
"""
USUAL_DAYS = 14
"""How many days back the usual looks."""
LEAST_DAYS = 3
"""On fewer days nothing is usual."""
REFRESH_S = 60.0
"""The past is read from the disk once in this time, however many pages ask."""
_NEAR = timedelta(minutes=5)
"""How long after a past moment the window may begin that stands for it."""


class Past(str, Enum):
    """What now is compared with; the first that differs is told."""

    HOUR = "hour"
    YESTERDAY = "yesterday"
    USUAL = "usual"


@dataclass(frozen=True, slots=True)
class Difference:
    """One emotion that is more or less common than before."""

    past: Past
    label: str
    now: Shares
    before: Shares


@dataclass(frozen=True, slots=True)
class Compared:
    """What is known about now and before."""

    span_s: float
    """Seconds that both sides cover."""
    pasts: tuple[Past, ...]
    """Those that hold figures of enough people."""
    difference: Difference | None
    """None where no difference is known."""


class Comparison:
    """Compares the live figures with the store's past.

    Args:
        store: the windows.
        corrector: of the model in use; windows that another model read are not compared.
        labels: the emotions that are shown.
        least_people: either side must hold as many.
    """

    def __init__(self, store: Store, corrector: Corrector, *, labels: Sequence[str], least_people: int) -> None:
        self._store, self._corrector, self._labels, self._least = store, corrector, tuple(labels), least_people
        self._past: dict[Past, Shares] = {}
        self._read_s = float("-inf")

    @property
    def is_due(self) -> bool:
        """Whether the past must be read again."""
        return time.monotonic() - self._read_s >= REFRESH_S

    def refresh(self, now: datetime | None = None) -> None:
        """Read the past: some twenty windows. ``now`` is local time without a zone; tests set it."""
        self._read_s = time.monotonic()
        now = datetime.now(timezone.utc).astimezone().replace(tzinfo=None) if now is None else now
        found = {
            Past.HOUR: self._at([now - timedelta(hours=1)]),
            Past.YESTERDAY: self._at([now - timedelta(days=1)]),
            Past.USUAL: self._at([now - timedelta(days=day) for day in range(1, USUAL_DAYS + 1)]),
        }
        past: dict[Past, Shares] = {}
        estimator = self._corrector.estimator
        for name, figures in found.items():
            if len(figures) < (LEAST_DAYS if name is Past.USUAL else 1):
                continue
            together = figures[0] if len(figures) == 1 else pooled((("", one) for one in figures), estimator)
            if together is not None:
                past[name] = together
        self._past = past

    def look(self, live: LiveState) -> Compared | None:
        """Compare what is shown now; None where there are no figures to compare."""
        rolling = None if live.report is None else live.report.rolling
        if rolling is None or rolling.shares is None or rolling.shares.people < self._least:
            return None
        now, past = rolling.shares, self._past
        known = tuple(name for name in Past if name in past and _same_labels(now, past[name]))
        differences = (self._difference(name, now, past[name]) for name in known)
        return Compared(rolling.span_s, known, next((one for one in differences if one is not None), None))

    def _difference(self, name: Past, now: Shares, before: Shares) -> Difference | None:
        label = max(self._labels, key=lambda one: distance(now, before, one))
        return Difference(name, label, now, before) if distance(now, before, label) > APART else None

    def _at(self, moments: Sequence[datetime]) -> list[Shares]:
        """The rolling estimates at these moments, where they hold enough people and can be compared."""
        found = []
        for window in filter(None, map(self._window, moments)):
            rolling = window.report.rolling
            shares = None if rolling is None else rolling.shares
            if shares is not None and shares.people >= self._least and self._is_comparable(window, shares):
                found.append(shares)
        return found

    def _window(self, moment: datetime) -> StoredWindow | None:
        start = moment.astimezone()  # the same time of the day, also where the clocks were changed since
        windows: Iterator[StoredWindow] = self._store.history(start, start + _NEAR)
        return next(windows, None)

    def _is_comparable(self, window: StoredWindow, shares: Shares) -> bool:
        latest = self._store.latest()
        has_true_time = window.clock_synced or (latest is not None and window.boot_id == latest.boot_id)
        return (
            has_true_time
            and window.model == self._corrector.model
            and shares.percentages_even is not None
            and set(shares.percentages) == set(self._corrector.estimator.labels)
        )


def distance(now: Shares, before: Shares, label: str) -> float:
    """How far two shares are apart, as a multiple of what their intervals reach towards each other; above 1 they do
    not meet."""
    low, high = sorted((now, before), key=lambda side: side.percentages[label])
    reach = high.percentages[label] - high.intervals[label][0] + low.intervals[label][1] - low.percentages[label]
    return (high.percentages[label] - low.percentages[label]) / max(reach, 0.1)


def _same_labels(now: Shares, before: Shares) -> bool:
    return set(now.percentages) == set(before.percentages)
