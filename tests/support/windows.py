"""Windows for tests: reports as the pipeline makes them, with figures that differ from window to window."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np

from edge_agent.shares.estimate import ShareEstimator
from edge_agent.shares.rounding import percentages
from edge_agent.store.trend import Corrector
from edge_agent.types import RollingShares, Shares, WindowReport

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
UNCORRECTED = Corrector("none of the windows' models", ShareEstimator(LABELS, [1 / 7] * 7))
"""Averages the windows of all models."""


def make_shares(seed: int, people: int = 5) -> Shares:
    rng = np.random.default_rng(seed)
    best, raw, even = (dict(zip(LABELS, percentages(rng.dirichlet(np.ones(7))), strict=True)) for _ in range(3))
    intervals = {
        label: (max(0.0, round(value - 5, 1)), min(100.0, round(value + 5, 1))) for label, value in best.items()
    }
    return Shares(best, raw, intervals, "adjusted_means", people, even, 0.75)


def make_report(
    number: int = 0, start: datetime | None = None, window_s: float = 10.0, people: int | None = 5, age_s: float = 0.0
) -> WindowReport:
    """A window that closed ``age_s`` ago; ``people`` None means suppressed and 0 empty."""
    monotonic_s = time.monotonic() - window_s - age_s
    wall = start or datetime.now(timezone.utc) - timedelta(seconds=window_s + age_s)
    return WindowReport(
        window_start=wall.replace(microsecond=wall.microsecond // 1000 * 1000),
        start_monotonic_s=monotonic_s,
        window_s=window_s,
        frames=150,
        faces=None if people is None else people * 20,
        people=people,
        suppressed=people is None,
        shares=replace(make_shares(number, people), quality=0.5) if people else None,
        gated=None if people is None else {"small": 3},
        rolling=RollingShares(900.0, make_shares(number + 1, 40)),
    )
