"""BCTS finds a known miscalibration again, and puts every class's mean posterior on its true share."""

from __future__ import annotations

import numpy as np
import pytest

from quantization.calibration import cross_fitted, fit
from quantization.figures import cross_fitted_error
from training.metrics import calibration_error, softmax

TEMPERATURE, BIAS = 2.5, np.array([0.8, -0.3, -0.5])


def sample(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a model that is over-confident and biased by the known amounts, and true labels."""
    rng = np.random.default_rng(seed)
    true_logits = rng.normal(0, 1.5, (n, 3))
    labels = (softmax(true_logits).cumsum(1) > rng.random((n, 1))).argmax(1)
    return (true_logits - BIAS) * TEMPERATURE, labels


def test_the_known_scaling_is_found_again() -> None:
    scaling = fit(*sample(50_000))
    assert scaling.temperature == pytest.approx(TEMPERATURE, rel=0.03)
    np.testing.assert_allclose(scaling.bias, BIAS, atol=0.05)


def test_mean_posteriors_are_the_shares_of_the_labels() -> None:
    """What temperature alone cannot do, and what estimates of shares rest on."""
    logits, labels = sample(3_000)
    shares = np.bincount(labels, minlength=3) / len(labels)
    np.testing.assert_allclose(fit(logits, labels).posteriors(logits).mean(0), shares, atol=1e-3)


def test_no_neighbouring_scaling_is_better() -> None:
    logits, labels = sample(2_000)
    best = fit(logits, labels)

    def loss(temperature: float, bias: np.ndarray) -> float:
        return float(-np.log(softmax(logits / temperature + bias)[np.arange(len(labels)), labels]).mean())

    bias, lowest = np.array(best.bias), loss(best.temperature, np.array(best.bias))
    for step in (0.97, 1.03):
        assert loss(best.temperature * step, bias) > lowest
    for i in range(3):
        assert loss(best.temperature, bias + 0.05 * np.eye(3)[i]) > lowest


def test_cross_fitting_applies_to_each_half_what_the_other_taught() -> None:
    logits, labels = sample(4_000)
    halves = np.arange(0, 4_000, 2), np.arange(1, 4_000, 2)
    posteriors = cross_fitted(logits, labels, halves)
    np.testing.assert_allclose(
        posteriors[halves[0]], fit(logits[halves[1]], labels[halves[1]]).posteriors(logits[halves[0]])
    )
    assert calibration_error(labels, posteriors) < 0.03 < calibration_error(labels, softmax(logits))


def test_the_cross_fitted_error_is_of_the_method_whatever_calibration_there_is() -> None:
    """Rows that nobody labelled are left out."""
    logits, labels = sample(4_000)
    labels[::10] = -1
    halves = np.arange(0, 4_000, 2), np.arange(1, 4_000, 2)
    error = cross_fitted_error(logits, labels, halves)
    assert 0 < error < 0.03
    assert cross_fitted_error(logits / 5 + BIAS, labels, halves) == pytest.approx(error, abs=1e-4)


def test_a_rare_class_and_flat_logits_do_not_stop_it() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 500 + [1] * 499 + [2])
    scaling = fit(0.01 * rng.normal(0, 1, (1000, 3)) + 0.02 * np.eye(3)[labels], labels)
    assert scaling.temperature < 0.1
    assert np.isfinite(scaling.bias).all()


def test_logits_that_say_the_contrary_leave_little_but_the_prior() -> None:
    labels = np.array([0] * 600 + [1] * 300)
    scaling = fit(-5 * np.eye(2)[labels], labels)
    assert scaling.temperature == pytest.approx(100)
