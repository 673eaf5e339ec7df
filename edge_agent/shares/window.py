"""Gathers what is seen during one window and closes it into the report that is stored, sent and shown.

Nothing about a single person leaves this module: a report holds counts and shares of groups.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import PrivacyConfig, WindowConfig
from edge_agent.host.clock import Clock
from edge_agent.shares.estimate import ShareEstimator
from edge_agent.shares.familiar import PastDay
from edge_agent.shares.rolling import RollingPeople
from edge_agent.types import EmotionScores, RollingShares, Shares, TrackedFace, WindowReport

LEAST_S = 0.4
"""Seconds; a face seen for less time in a window does not count: false faces appear only for a moment."""


KEPT_INTERVALS = 1000
"""Times between frames that the frame rate is taken from, the newest."""


def least_sightings(fps: float) -> int:
    """How often a person has to be seen to count: for ``LEAST_S``, and twice from 1 frame a second on."""
    return max(round(LEAST_S * fps), 2 if fps >= 1.0 else 1)


KEPT_GROUPS = 500
"""Groups of people seen at the same time that a window remembers; beyond this the larger half stays."""


UPRIGHT, UPRIGHT_OF_FEW = 1.0, 1.5
"""Mean log odds of being upright, of n people in a window, below which nobody is read: the first, plus the second
divided by the square root of n."""
KEPT_ODDS = 50
"""Tracks of earlier windows whose odds are held together with a window's own: a camera does not turn by itself."""


class FrameRate:
    """Frames a second while frames arrived: a camera that was away half of the time is not half as fast.

    By the median of the times between frames, which neither a gap nor a burst moves.
    """

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=KEPT_INTERVALS)

    def begin(self) -> None:
        """Start to measure again."""
        self._intervals_s.clear()

    def count(self, at_monotonic_s: float) -> None:
        """One more frame, captured then."""
        if self._last_s is not None and at_monotonic_s > self._last_s:
            self._intervals_s.append(at_monotonic_s - self._last_s)
        self._last_s = at_monotonic_s

    @property
    def fps(self) -> float:
        """0 where no two frames followed each other."""
        return 1.0 / statistics.median_low(self._intervals_s) if self._intervals_s else 0.0


@dataclass(slots=True)
class _Person:
    """Running sums over one person's faces in this window."""

    lineage: int
    weighted: NDArray[np.float64]
    """Sum of weight times both readings of the answer, shape (2 x classes,)."""
    weight: float = 0.0
    sightings: int = 0
    alive: int = 0
    """How many of these were known to be no photograph's."""

    def add(self, reading: NDArray[np.float64], weight: float) -> None:
        self.weighted += weight * reading
        self.weight += weight
        self.sightings += 1


class Window:
    """The current window; :meth:`close` begins the next one.

    Boundaries follow the monotonic clock; the wall clock only stamps the start. Not thread-safe: it belongs to the
    agent's loop.
    """

    def __init__(
        self,
        config: WindowConfig,
        privacy: PrivacyConfig,
        estimator: ShareEstimator,
        *,
        clock: Clock = Clock(),  # noqa: B008 (has no state)
    ) -> None:
        self._config = config
        self._privacy = privacy
        self._estimator = estimator
        self._clock = clock
        self._rate = FrameRate()
        self.rolling_people = RollingPeople(config.rolling_s, privacy.min_people)
        self._rolling_shares: Shares | None = None
        self._past = PastDay(estimator)
        self._earlier_odds: deque[float] = deque(maxlen=KEPT_ODDS)
        self.restart(clock.monotonic_s())

    def restart(self, now_monotonic_s: float) -> None:
        """Drop what this window holds and begin a new one."""
        self._start_s = now_monotonic_s
        self._start = self._clock.wall_at(now_monotonic_s)
        self.frames = 0
        self._rate.begin()
        self._people: dict[int, _Person] = {}
        self._together: set[frozenset[int]] = set()
        self._gated: Counter[str] = Counter()
        self._still: Counter[int] = Counter()
        self._odds: dict[int, list[float]] = {}

    def count_frame(self, captured_monotonic_s: float) -> None:
        """One more frame, captured then, was looked at, with or without faces."""
        self.frames += 1
        self._rate.count(captured_monotonic_s)

    def gate(self, reason: str, track: int) -> None:
        """One more face, of this track, was left out for ``reason`` (see :mod:`edge_agent.vision.quality`)."""
        self._gated[reason] += 1
        self._still[track] += reason == "still"

    def lean(self, track: int, odds: float) -> None:
        """One more face of this track looks upright with these odds, in logarithms, whether it is read or not."""
        sums = self._odds.setdefault(track, [0.0, 0.0])
        sums[0], sums[1] = sums[0] + odds, sums[1] + 1

    def add(
        self,
        tracked: Sequence[TrackedFace],
        scores: EmotionScores,
        weights: NDArray[np.float64],
        *,
        alive: NDArray[np.bool_],
    ) -> None:
        """Add the faces of one frame that were classified.

        Args:
            tracked: whose faces these are, ``n`` of them.
            scores: calibrated posteriors, n rows in the same order.
            weights: how much each face says about its person, shape (n,), greater than 0.
            alive: whether each is known to be no photograph, shape (n,). Who is not half of the time does not count.

        Raises:
            ValueError: the four do not have the same length.
        """
        # Read before they are averaged: a person's face changes within a window, and reading is not linear.
        readings = self._estimator.read(scores.probabilities)
        for face, reading, weight, lives in zip(tracked, readings, weights, alive, strict=True):
            person = self._people.setdefault(face.track, _Person(face.lineage, np.zeros_like(reading)))
            person.add(reading, float(weight))
            person.alive += bool(lives)
        self._together.add(frozenset(face.track for face, lives in zip(tracked, alive, strict=True) if lives))
        if len(self._together) > KEPT_GROUPS:
            self._together = set(sorted(self._together, key=len)[KEPT_GROUPS // 2 :])

    @property
    def start_s(self) -> float:
        """When it began, on the monotonic clock."""
        return self._start_s

    def due(self, now_monotonic_s: float, window_s: float) -> bool:
        """Whether the window has lasted its time, which is ``window_s`` now."""
        return now_monotonic_s - self._start_s >= window_s

    def has_begun(self, now_monotonic_s: float) -> bool:
        """Whether the window is longer than nothing, to the millisecond that reports are rounded to."""
        return now_monotonic_s - self._start_s >= 0.001

    def close(self, now_monotonic_s: float) -> WindowReport:
        """Report on everything since the last close and begin the next window at ``now_monotonic_s``."""
        window_s = max(now_monotonic_s - self._start_s, 0.0)
        counted = self._counted()
        groups = self._groups(counted)
        # Who leaves and returns is somebody new to the tracker. Only those seen at the same time are certainly not one.
        suppressed = 0 < max(map(len, groups), default=0) < self._privacy.min_people
        published = [] if suppressed else list(counted.values())
        is_told = bool(self.frames) and not suppressed  # without a picture it is not known who was there
        doubt = self._past.doubt
        if published:
            self._past.add(_rows(published), now_monotonic_s)
        report = WindowReport(
            window_start=self._start,
            start_monotonic_s=self._start_s,
            window_s=round(window_s, 3),
            frames=self.frames,
            faces=sum(person.sightings for person in counted.values()) if is_told else None,
            people=len(counted) if is_told else None,
            suppressed=suppressed,
            shares=self._shares(published, doubt) if published else None,
            # Without anyone counted they might be all of one person, who is turned away.
            gated=dict(self._gated) if published else None,
            rolling=self._roll(published, groups, doubt, now_s=now_monotonic_s),
        )
        self.restart(now_monotonic_s)
        return report

    def _counted(self) -> dict[int, _Person]:
        """Everyone who is alive and was seen often enough to be no false detection, by track."""
        least = least_sightings(self._rate.fps)
        counted = {
            # A photograph's track may be that of a passer-by for a moment, and is alive for that long.
            track: person
            for track, person in self._people.items()
            if person.sightings >= least and 2 * person.alive >= person.sightings + self._still[track]
        }
        odds = [total / count for total, count in self._odds.values() if count >= least]
        # Which way is up, all faces before one camera have in common. Where most look wrong, the rest are mistakes.
        looks_wrong = _looks_wrong(odds) or _looks_wrong([*self._earlier_odds, *odds])
        self._earlier_odds.extend(odds)
        return {} if looks_wrong else counted

    def _shares(self, people: list[_Person], doubt: NDArray[np.float64]) -> Shares:
        """Their shares, and how good the faces were: what was left out counts as nothing, but for photographs."""
        found = sum(person.sightings for person in self._people.values())
        found += self._gated.total() - self._gated["still"]
        quality = sum(person.weight for person in people) / found
        return replace(self._estimator.estimate_people(_rows(people), doubt), quality=round(quality, 2))

    def _groups(self, counted: Mapping[int, _Person]) -> set[frozenset[int]]:
        """Lineages of those who counted and were seen at the same time."""
        return {frozenset(counted[track].lineage for track in group & counted.keys()) for group in self._together}

    def _roll(
        self, people: list[_Person], groups: Collection[frozenset[int]], doubt: NDArray[np.float64], *, now_s: float
    ) -> RollingShares | None:
        """Let a published window's people enter; the estimate is computed again only when its people changed."""
        if not self._config.rolling_s:
            return None
        if people:
            changed = self.rolling_people.enter(
                [person.lineage for person in people], _rows(people), groups=groups, now_monotonic_s=now_s
            )
        else:
            changed = self.rolling_people.expire(now_s)
        if changed:
            rows = self.rolling_people.rows
            self._rolling_shares = None if rows is None else self._estimator.estimate_people(rows, doubt)
        return RollingShares(self._config.rolling_s, self._rolling_shares)


def _looks_wrong(odds: Sequence[float]) -> bool:
    """Whether people with these odds are seen by a camera that hangs wrong.

    One or two alone may well be people whose faces tell little.
    """
    least = UPRIGHT + UPRIGHT_OF_FEW / len(odds) ** 0.5 if len(odds) >= 3 else 0.0
    return bool(odds) and statistics.mean(odds) < least


def _rows(people: list[_Person]) -> NDArray[np.float64]:
    """Each one's readings, averaged over sightings by quality, shape (people, 2 x classes)."""
    return np.stack([person.weighted / person.weight for person in people])
