"""The page says that something has changed where that is known, and seldom where nothing has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from edge_agent.kiosk.comparison import APART, LEAST_DAYS, Comparison, Past, distance
from edge_agent.live import LiveState
from edge_agent.shares.estimate import ShareEstimator
from edge_agent.store import Store
from edge_agent.store.trend import Corrector
from edge_agent.types import Shares, WindowReport
from edge_agent.vision.model import load_model
from tests.support.kiosk_stage import CHANGED, TYPICAL, report_of, shares_of
from tests.support.stores import config_for, opened
from tests.support.windows import LABELS

CORRECTOR = Corrector("m1", ShareEstimator(LABELS, [1 / 7] * 7))
OFTEN = {**TYPICAL, "happy": 200.0}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(config_for(tmp_path)) as running:
        yield running


def window(mix: dict[str, float] | None, ago: timedelta = timedelta(), people: int = 180) -> WindowReport:
    """A window whose rolling estimate has this mix, which began ``ago`` before now."""
    lately = None if mix is None else shares_of(mix, people)
    return report_of(None, rolling=lately, age_s=ago.total_seconds() - 30)


def look(store: Store, report: WindowReport, least_people: int = 3) -> tuple[tuple[Past, ...], Past | None, str | None]:
    comparison = Comparison(store, CORRECTOR, labels=LABELS, least_people=least_people)
    comparison.refresh()
    found = comparison.look(LiveState(report=report))
    assert found is not None
    difference = found.difference
    return found.pasts, difference and difference.past, difference and difference.label


def test_without_a_past_nothing_is_compared(store: Store):
    assert look(store, window(TYPICAL)) == ((), None, None)


def test_a_change_is_told_with_what_it_is_compared_with(store: Store):
    store.append(window(TYPICAL, timedelta(hours=1)))
    assert look(store, window(TYPICAL)) == ((Past.HOUR,), None, None)
    assert look(store, window(OFTEN)) == ((Past.HOUR,), Past.HOUR, "happy")


def test_yesterday_and_the_usual_are_asked_where_an_hour_ago_was_the_same(store: Store):
    store.append(window(OFTEN, timedelta(hours=1)))
    for day in range(1, LEAST_DAYS):
        store.append(window(TYPICAL, timedelta(days=day)))
    assert look(store, window(OFTEN)) == ((Past.HOUR, Past.YESTERDAY), Past.YESTERDAY, "happy")
    store.append(window(TYPICAL, timedelta(days=LEAST_DAYS)))
    assert Past.USUAL in look(store, window(OFTEN))[0]


def test_a_side_of_too_few_people_is_no_side(store: Store):
    store.append(window(TYPICAL, timedelta(hours=1), people=4))
    assert look(store, window(CHANGED), least_people=5)[0] == ()
    assert look(store, window(CHANGED), least_people=4)[0] == (Past.HOUR,)
    comparison = Comparison(store, CORRECTOR, labels=LABELS, least_people=5)
    comparison.refresh()
    for report in (None, window(None), window(CHANGED, people=4)):
        assert comparison.look(LiveState(report=report)) is None


def test_what_another_model_read_is_not_compared(store: Store):
    store.append(window(TYPICAL, timedelta(hours=1)))
    other = Corrector("another model", CORRECTOR.estimator)
    comparison = Comparison(store, other, labels=LABELS, least_people=3)
    comparison.refresh()
    found = comparison.look(LiveState(report=window(CHANGED)))
    assert found is not None
    assert found.pasts == ()


def test_only_shown_emotions_are_told(store: Store):
    store.append(window(TYPICAL, timedelta(hours=1)))
    comparison = Comparison(store, CORRECTOR, labels=("fear", "disgust"), least_people=3)
    comparison.refresh()
    found = comparison.look(LiveState(report=window(OFTEN)))
    assert found is not None
    assert found.difference is None


@pytest.mark.parametrize("mixes", ["ordinary", "any"])
@pytest.mark.parametrize(("now", "before"), [(100, 100), (40, 800)])
def test_a_crowd_is_seldom_said_to_differ_from_itself(mixes: str, now: int, before: int):
    """With the shipped model's answers to faces with known labels: two draws from one crowd, sixty times. Where
    every fourth person turns happy, two large crowds are often told apart."""
    head = next(iter(load_model().info.heads.values()))
    estimator = head.share_estimator(LABELS, None)
    assert head.reference is not None
    reference, rng = head.reference.decode(), np.random.default_rng([now, before])
    faces = [np.flatnonzero(reference.labels == label) for label in range(len(LABELS))]

    def draw(mix: np.ndarray, people: int) -> Shares:
        counts = rng.multinomial(people, mix)
        chosen = np.concatenate([rng.choice(faces[label], count) for label, count in enumerate(counts)])
        return estimator.estimate(reference.posteriors[chosen])

    def differ(one: Shares, other: Shares) -> bool:
        return max(distance(one, other, label) for label in LABELS) > APART

    claims = told = 0
    for _ in range(60):
        mix = rng.dirichlet(40 * estimator.prior if mixes == "ordinary" else np.ones(len(LABELS)))
        happier = 0.75 * mix + 0.25 * np.eye(len(LABELS))[LABELS.index("happy")]
        one = draw(mix, now)
        claims += differ(one, draw(mix, before))
        told += differ(draw(happier, 400), one) if now >= 100 else 0
    assert claims <= 3
    assert now < 100 or told >= 20
