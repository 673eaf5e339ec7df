"""Shares of people: unbiased where plain averages are not, honest about what is not known, and fast."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.shares.estimate import Averages, Settings, ShareEstimator
from edge_agent.shares.reference import Reference
from edge_agent.vision.model import load_model
from tests.support.faces import SHARED, shared
from tests.support.windows import LABELS

PRIOR = np.array([0.14, 0.015, 0.14, 0.25, 0.185, 0.11, 0.16])
CLASSES = len(LABELS)
CENTRES = np.random.default_rng(7).normal(size=(CLASSES, 4)) * 1.35
"""A made-up classifier sees class k as a point around CENTRES[k]: about 70 % of its top labels are right."""


def draw_people(labels: np.ndarray, rng: np.random.Generator, noise: float = 1.0) -> np.ndarray:
    """The exact posteriors, under PRIOR, of people with these labels: perfectly calibrated by construction.

    Unless the camera has more ``noise``, which the classifier knows nothing of.
    """
    points = CENTRES[labels] + noise * rng.normal(size=(len(labels), CENTRES.shape[1]))
    density = np.exp(-0.5 * ((points[:, None] - CENTRES) ** 2).sum(axis=2))
    joint = density * PRIOR
    return joint / joint.sum(axis=1, keepdims=True)


def reference_faces() -> Reference:
    rng = np.random.default_rng(1)
    labels = np.concatenate([np.arange(CLASSES), rng.choice(CLASSES, 2_000, p=PRIOR)])
    return Reference(draw_people(labels, rng), labels)


REFERENCE = reference_faces()


@pytest.fixture(scope="module")
def estimator() -> ShareEstimator:
    return ShareEstimator(LABELS, PRIOR, REFERENCE)


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
    """A 90 % interval contains the truth about nine times in ten; more often with many people, since the doubt about
    the camera stays although this one is exactly like the reference.
    """
    mixes = np.random.default_rng(4).dirichlet(np.ones(CLASSES), 150)
    assert 0.85 < errors(estimator, people, mixes)[2] < 0.995


@settings(max_examples=60, deadline=None)
@example(people=1, seed=0, sure=0.5)
@given(people=st.integers(1, 60), seed=st.integers(0, 10_000), sure=st.floats(0.0, 1.0))
def test_every_estimate_is_shares(estimator, people, seed, sure):
    """For any group, however extreme its posteriors: sums of 100.0, intervals around the estimate, all in 0 to 100."""
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(CLASSES, 0.3), people)
    rows = sure * np.eye(CLASSES)[rng.integers(CLASSES, size=people)] + (1 - sure) * rows
    shares = estimator.estimate(rows)
    assert shares.people == people
    assert shares.method == "adjusted_means"
    for figures in (shares.percentages, shares.percentages_raw, shares.percentages_even):
        assert sum(round(10 * value) for value in figures.values()) == 1000
        assert all(0.0 <= value <= 100.0 for value in figures.values())
    for label, (low, high) in shares.intervals.items():
        assert 0.0 <= low <= shares.percentages[label] <= high <= 100.0


def test_the_order_of_people_says_nothing(estimator):
    """A group's figures do not depend on who was seen first."""
    rng = np.random.default_rng(5)
    rows = draw_people(rng.choice(CLASSES, 40), rng)
    assert estimator.estimate(rows) == estimator.estimate(rows[::-1])


@settings(max_examples=150, deadline=None)
@given(people=st.integers(1, 30), seed=st.integers(0, 10_000), sharp=st.floats(0.05, 1.0))
def test_no_emotion_is_lifted_far_on_weak_evidence(estimator, people, seed, sharp):
    """More than ten points above the plain average only where the answers are 20 times as likely under the figures."""
    rows = np.random.default_rng(seed).dirichlet(np.full(CLASSES, sharp), people)
    shares = estimator.estimate(rows)
    best, raw = (np.array(list(figures.values())) / 100 for figures in (shares.percentages, shares.percentages_raw))
    if (best - raw).max() > 0.1:
        ratios = rows / PRIOR
        assert np.log(ratios @ best / (ratios @ raw)).sum() > np.log(20) - 0.01 * people  # published shares are rounded


@pytest.mark.shared
def test_nine_faces_of_whom_one_looks_disgusted_are_not_called_a_disgusted_group():
    """They were published as 44 % disgusted once."""
    file = shared(SHARED / "reports" / "s1.json")
    faces = json.loads(file.read_text())["faces"]
    rows = np.array([[face["probabilities"][label] for label in LABELS] for face in faces])
    info = load_model().info
    shares = info.heads["ferplus"].share_estimator(info.labels).estimate(rows / rows.sum(axis=1, keepdims=True))
    for label in LABELS:
        assert abs(shares.percentages[label] - shares.percentages_raw[label]) <= 10.0


def test_averages_say_what_the_people_say(estimator):
    """Groups that are added up get the figures of all their people together."""
    rng = np.random.default_rng(6)
    rows = draw_people(rng.choice(CLASSES, 200, p=np.array([0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2])), rng)
    assert estimator.estimate_averages(Averages(200, estimator.read(rows).mean(axis=0))) == estimator.estimate(rows)


def test_a_camera_unlike_the_reference_is_noticed_and_doubted(estimator):
    """Its figures are called unfamiliar, and their intervals are wider and hold more often than they would."""
    rng = np.random.default_rng(9)
    sure = ShareEstimator(LABELS, PRIOR, REFERENCE, settings=Settings(doubts=(0.05,)))
    familiar, known, held, held_sure = [], [], [], []
    for _ in range(40):
        labels = rng.choice(CLASSES, 200, p=rng.dirichlet(np.ones(CLASSES)))
        truth = 100 * np.bincount(labels, minlength=CLASSES) / 200
        known.append(estimator.estimate(draw_people(labels, rng)).familiar)
        rows = draw_people(labels, rng, noise=1.7)
        for each, into in ((estimator, held), (sure, held_sure)):
            low, high = np.array(list(each.estimate(rows).intervals.values())).T
            into.append((low <= truth) & (truth <= high))
        familiar.append(estimator.estimate(rows).familiar)
    assert np.median(familiar) < 0.1 < 0.5 < np.median(known)
    assert np.mean(held) > np.mean(held_sure) + 0.1


def test_what_is_known_of_the_camera_counts(estimator):
    """A group of a camera that was unfamiliar all day has wider intervals than the same group elsewhere."""
    rng = np.random.default_rng(10)
    rows = draw_people(rng.choice(CLASSES, 10, p=PRIOR), rng)
    doubtful = np.array([0.0] * (len(Settings().doubts) - 1) + [1.0])
    here, there = estimator.estimate(rows), estimator.estimate(rows, doubtful)
    assert there.familiar < here.familiar
    widths = [np.diff(list(shares.intervals.values())).sum() for shares in (here, there)]
    assert widths[1] > 1.1 * widths[0]


def test_without_reference_faces_plain_means_are_given_and_named():
    """A model without reference faces is never corrected by guesswork, and the method says so."""
    rows = np.full((50, CLASSES), 1 / CLASSES)
    shares = ShareEstimator(LABELS, PRIOR).estimate(rows)
    assert shares.method == "mean"
    assert shares.percentages == shares.percentages_raw


def test_two_hundred_people_take_a_few_milliseconds(estimator):
    """The best of many runs, so that a busy machine does not fail it."""
    rng = np.random.default_rng(8)
    rows = draw_people(rng.choice(CLASSES, 200), rng)

    def once() -> float:
        began = time.perf_counter()
        estimator.estimate(rows)
        return time.perf_counter() - began

    assert min(once() for _ in range(100)) < 5e-3


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
