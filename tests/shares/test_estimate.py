"""Shares of people: unbiased where plain averages are not, honest about what is not known, and fast."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.shares.estimate import Reference, Settings, ShareEstimator, working_point
from tests.support.windows import LABELS

PRIOR = np.array([0.14, 0.015, 0.14, 0.25, 0.185, 0.11, 0.16])
CLASSES = len(LABELS)
CENTRES = np.random.default_rng(7).normal(size=(CLASSES, 4)) * 1.35
"""A made-up classifier sees class k as a point around CENTRES[k]: about 70 % of its top labels are right."""


def draw_people(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The exact posteriors, under PRIOR, of people with these labels: perfectly calibrated by construction."""
    points = CENTRES[labels] + rng.normal(size=(len(labels), CENTRES.shape[1]))
    density = np.exp(-0.5 * ((points[:, None] - CENTRES) ** 2).sum(axis=2))
    joint = density * PRIOR
    return joint / joint.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def estimator() -> ShareEstimator:
    rng = np.random.default_rng(1)
    labels = np.concatenate([np.arange(CLASSES), rng.choice(CLASSES, 2_000, p=PRIOR)])
    return ShareEstimator(LABELS, PRIOR, Reference(draw_people(labels, rng), labels))


def errors(estimator: ShareEstimator, people: int, mixes: np.ndarray) -> tuple[float, float, float]:
    """Mean absolute error, in points, of the estimate and of the plain mean; and how often the interval holds."""
    rng = np.random.default_rng(2)
    best, raw, held = [], [], []
    for mix in mixes:
        labels = rng.choice(CLASSES, people, p=mix)
        truth = 100 * np.bincount(labels, minlength=CLASSES) / people
        shares = estimator.estimate(draw_people(labels, rng))
        best.append(np.abs(np.array(list(shares.percentages.values())) - truth))
        raw.append(np.abs(np.array(list(shares.percentages_raw.values())) - truth))
        low, high = np.array(list(shares.intervals.values())).T
        held.append((low - 1e-9 <= truth) & (truth <= high + 1e-9))
    return float(np.mean(best)), float(np.mean(raw)), float(np.mean(held))


@pytest.mark.parametrize(("people", "reduction"), [(30, 0.20), (100, 0.40), (1000, 0.60)])
def test_a_strange_mix_is_corrected(estimator, people, reduction):
    """Where emotions are mixed in any way, the error falls well below the plain mean's, the more the more people."""
    mixes = np.random.default_rng(3).dirichlet(np.ones(CLASSES), 150)
    best, raw, _ = errors(estimator, people, mixes)
    assert best < (1 - reduction) * raw


@pytest.mark.parametrize("people", [30, 100, 1000])
def test_the_usual_mix_is_left_alone(estimator, people):
    """Where nothing is to be corrected, the correction costs at most a tenth."""
    best, raw, _ = errors(estimator, people, np.tile(PRIOR, (150, 1)))
    assert best < 1.1 * raw


@pytest.mark.parametrize("people", [30, 100, 1000])
def test_intervals_hold_what_they_promise(estimator, people):
    """A 90 % interval contains the truth about nine times in ten."""
    mixes = np.random.default_rng(4).dirichlet(np.ones(CLASSES), 150)
    assert 0.82 < errors(estimator, people, mixes)[2] < 0.985


@settings(max_examples=60, deadline=None)
@example(people=4, seed=0, sure=0.5)
@example(people=5, seed=0, sure=0.5)
@given(people=st.integers(1, 60), seed=st.integers(0, 10_000), sure=st.floats(0.0, 1.0))
def test_every_estimate_is_shares(estimator, people, seed, sure):
    """For any group, however extreme its posteriors: sums of 100.0, intervals around the estimate, all in 0 to 100."""
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(CLASSES, 0.3), people)
    rows = sure * np.eye(CLASSES)[rng.integers(CLASSES, size=people)] + (1 - sure) * rows
    shares = estimator.estimate(rows)
    assert shares.people == people
    assert shares.method == ("mean" if people < Settings().correct_from_people else "adjusted_em")
    for figures in (shares.percentages, shares.percentages_raw):
        assert sum(round(10 * value) for value in figures.values()) == 1000
        assert all(0.0 <= value <= 100.0 for value in figures.values())
    for label, (low, high) in shares.intervals.items():
        assert 0.0 <= low <= shares.percentages[label] <= high <= 100.0


def test_the_order_of_people_says_nothing(estimator):
    """A group's figures do not depend on who was seen first."""
    rng = np.random.default_rng(5)
    rows = draw_people(rng.choice(CLASSES, 40), rng)
    assert estimator.estimate(rows) == estimator.estimate(rows[::-1])


def test_the_working_point_finds_the_mix():
    """EM on exact posteriors of many people arrives at the shares that they were drawn from."""
    rng = np.random.default_rng(6)
    mix = np.array([0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2])
    rows = draw_people(rng.choice(CLASSES, 20_000, p=mix), rng)
    assert np.abs(working_point(rows, PRIOR) - mix).max() < 0.03
    assert np.abs(rows.mean(axis=0) - mix).max() > 0.05


def test_without_reference_faces_plain_means_are_given_and_named():
    """A model without reference faces is never corrected by guesswork, and the method says so."""
    rows = np.full((50, CLASSES), 1 / CLASSES)
    shares = ShareEstimator(LABELS, PRIOR).estimate(rows)
    assert shares.method == "mean"
    assert shares.percentages == shares.percentages_raw


def test_two_hundred_people_take_less_than_a_millisecond(estimator):
    """The best of many runs, so that a busy machine does not fail it."""
    rng = np.random.default_rng(8)
    rows = draw_people(rng.choice(CLASSES, 200), rng)

    def once() -> float:
        began = time.perf_counter()
        estimator.estimate(rows)
        return time.perf_counter() - began

    assert min(once() for _ in range(100)) < 1e-3


@pytest.mark.parametrize("rows", [np.zeros((0, 7)), np.ones((3, 6)) / 6, np.ones(7) / 7])
def test_wrong_shapes_are_refused(estimator, rows):
    """Nobody, the wrong number of columns or a single row are errors, not figures."""
    with pytest.raises(ValueError, match="posteriors"):
        estimator.estimate(rows)


def test_a_class_without_prior_or_reference_is_refused():
    """Neither can be corrected for; better to stop than to divide by zero."""
    with pytest.raises(ValueError, match="positive prior"):
        ShareEstimator(LABELS, [0.5, 0.5, 0, 0, 0, 0, 0])
    with pytest.raises(ValueError, match="reference faces"):
        ShareEstimator(LABELS, PRIOR, Reference(np.full((3, 7), 1 / 7), np.array([0, 1, 2])))
