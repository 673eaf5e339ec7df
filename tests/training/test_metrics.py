"""Figures against answers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics import (
    accuracy,
    calibration_error,
    confusion,
    cross_entropy,
    macro_f1,
    per_class,
    reliability,
    softmax,
)

LABELS = np.array([0, 0, 0, 1, 1, 2])
TOP = np.array([0, 0, 1, 1, 0, 2])


def test_confusion_counts_true_rows_by_answered_columns() -> None:
    assert confusion(LABELS, TOP, 3).tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_accuracy_and_f1_by_hand() -> None:
    counts = confusion(LABELS, TOP, 3)
    assert accuracy(counts) == pytest.approx(4 / 6)
    assert per_class(counts)["f1"] == pytest.approx([2 / 3, 1 / 2, 1])
    assert macro_f1(counts) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_a_class_without_images_scores_nothing_instead_of_failing() -> None:
    assert per_class(confusion(LABELS, TOP, 4))["f1"][3] == 0


def test_calibration_error_by_hand() -> None:
    """Two bins: sure 0.9 and right half of the time, sure 0.6 and always right."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    labels = np.array([0, 1, 0, 1])
    assert calibration_error(labels, probabilities) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)
    np.testing.assert_allclose(reliability(labels, probabilities), [(0.5, 1.0, 0.6), (0.5, 0.5, 0.9)])


def test_full_confidence_falls_in_the_last_bin() -> None:
    assert calibration_error(np.array([0]), np.array([[1.0, 0.0]])) == 0


def test_a_calibrated_model_has_little_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(7), 20_000)
    labels = (probabilities.cumsum(1) > rng.random((20_000, 1))).argmax(1)
    assert calibration_error(labels, probabilities) < 0.012


def test_softmax_survives_large_logits() -> None:
    assert softmax(np.array([[1000.0, 1000.0]])).tolist() == [[0.5, 0.5]]


def test_cross_entropy_is_that_of_the_softmax_and_survives_large_logits() -> None:
    logits = np.array([[1.0, 2.0, 0.5], [0.0, 3.0, -1.0]])
    expected = -np.log(softmax(logits)[[0, 1], [2, 1]]).mean()
    assert cross_entropy(np.array([2, 1]), logits) == pytest.approx(expected)
    assert cross_entropy(np.array([0, 1]), np.array([[1000.0, 0.0], [1000.0, 0.0]])) == pytest.approx(500)
