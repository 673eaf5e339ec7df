"""Windows added up: as good as one large window, and never surer than the camera is known."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from edge_agent.shares.estimate import Settings, ShareEstimator
from edge_agent.shares.pool import pooled
from edge_agent.store.trend import Corrector, merge, width_ms
from edge_agent.types import Shares, WindowReport
from tests.shares.test_estimate import CLASSES, PRIOR, REFERENCE, draw_people
from tests.support.stores import config_for, opened
from tests.support.windows import LABELS, make_report

ESTIMATOR = ShareEstimator(LABELS, PRIOR, REFERENCE)


def crowd(rng: np.random.Generator, people: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors of a crowd of any mix, and its shares in percent."""
    labels = rng.choice(CLASSES, people, p=rng.dirichlet(np.ones(CLASSES)))
    return draw_people(labels, rng), 100 * np.bincount(labels, minlength=CLASSES) / people


def in_windows(rows: np.ndarray, size: int) -> list[Shares]:
    return [ESTIMATOR.estimate(rows[first : first + size]) for first in range(0, len(rows), size)]


def values(figures: object) -> np.ndarray:
    return np.array(list(figures.values()))  # type: ignore[attr-defined]


def test_a_hundred_windows_of_ten_people_are_as_good_as_one_of_a_thousand():
    """Although each of them is hardly corrected, for want of evidence; and the interval holds."""
    rng, errors, held = np.random.default_rng(1), {"pooled": [], "one": [], "averaged": []}, []
    for _ in range(12):
        rows, truth = crowd(rng)
        windows = in_windows(rows, 10)
        together = pooled([("entrance", shares) for shares in windows], ESTIMATOR)
        errors["pooled"].append(np.abs(values(together.percentages) - truth).mean())
        errors["one"].append(np.abs(values(ESTIMATOR.estimate(rows).percentages) - truth).mean())
        errors["averaged"].append(np.abs(np.mean([values(w.percentages) for w in windows], axis=0) - truth).mean())
        low, high = values(together.intervals).T
        held.append((low <= truth) & (truth <= high))
    pool, one, averaged = (np.mean(errors[way]) for way in ("pooled", "one", "averaged"))
    assert pool < 1.15 * one
    assert pool < 0.7 * averaged
    assert np.mean(held) > 0.85


def test_doubt_about_one_camera_stays_and_several_average_it_out():
    """A hundred times the people do not make the interval narrower than the doubt; other cameras do."""
    doubtful = ShareEstimator(LABELS, PRIOR, REFERENCE, settings=Settings(doubts=(0.3,)))
    rows, _ = crowd(np.random.default_rng(2))
    windows = in_windows(rows, 100)
    once = pooled([("a", w) for w in windows], doubtful)
    often = pooled([("a", w) for w in windows for _ in range(100)], doubtful)
    spread = pooled([(str(i % 10), w) for i, w in enumerate(windows * 100)], doubtful)
    width = [np.diff(values(shares.intervals)).mean() for shares in (once, often, spread)]
    assert width[1] > 0.4 * width[0]
    assert width[2] < 0.8 * width[1]


def test_one_window_stays_what_it_was_published_as():
    """To the rounding of its averages; and nothing without windows."""
    rows, _ = crowd(np.random.default_rng(3), 200)
    window = ESTIMATOR.estimate(rows)
    again = pooled([("a", window)], ESTIMATOR)
    assert np.abs(values(again.percentages) - values(window.percentages)).max() < 1.5
    assert again.people == 200
    assert pooled([], ESTIMATOR) is None


def test_windows_that_cannot_be_added_up_are_refused():
    """Windows of old lack the even average; a wrong figure would be worse than none."""
    old = Shares(*[dict.fromkeys(LABELS, 100 / 7)] * 2, dict.fromkeys(LABELS, (0.0, 100.0)), "mean", 5)
    with pytest.raises(ValueError, match="percentages_even"):
        pooled([("a", old)], ESTIMATOR)


def test_the_store_adds_up_what_one_model_read(tmp_path: Path):
    """The page's trend and exports by the hour: corrected together, or averaged where models differ."""
    rows, truth = crowd(np.random.default_rng(4))
    start = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    reports = [_report(start + timedelta(seconds=10 * i), w) for i, w in enumerate(in_windows(rows, 10))]
    with opened(config_for(tmp_path)) as store:
        for report in reports:
            store.append(report)
        sums = [row for part in store.sums(start, start + timedelta(hours=1), 3600) for row in part]
    (together,) = merge(sums, width_ms(3600), Corrector("m1", ESTIMATOR))
    (averaged,) = merge(sums, width_ms(3600), Corrector("m2", ESTIMATOR))
    expected = pooled([("a", report.shares) for report in reports], ESTIMATOR)
    assert together.percentages == expected.percentages
    assert together.intervals == expected.intervals
    assert (together.method, averaged.method, averaged.intervals) == ("adjusted_means", "mean", None)
    error, plain = (np.abs(values(b.percentages) - truth).mean() for b in (together, averaged))
    assert error < 0.7 * plain


def _report(start: datetime, shares: Shares) -> WindowReport:
    report = make_report(start=start, people=shares.people)
    return WindowReport(**{name: getattr(report, name) for name in report.__slots__} | {"shares": shares})
