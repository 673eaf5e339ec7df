"""The spoilt pictures that robustness is measured on: each spoils what its name says, and always alike."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.perturb import PERTURBATIONS, perturbed

RAMP = np.tile(np.linspace(60, 100, 48).astype(np.uint8), (8, 48, 1))
"""Grey levels that no change below clips."""


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_same_images_give_the_same_result_and_stay_as_they_are(name: str) -> None:
    before = RAMP.copy()
    first, second = perturbed(before, name), perturbed(before, name)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(before, RAMP)
    assert first.shape == RAMP.shape
    assert first.dtype == np.uint8
    assert (name == "clean") == np.array_equal(first, RAMP)


@pytest.mark.parametrize("sigma", [5, 10, 20])
def test_noise_has_the_named_spread_and_no_bias(sigma: int) -> None:
    flat = np.full((20, 48, 48), 128, np.uint8)
    grain = perturbed(flat, f"noise {sigma}").astype(float) - 128
    assert grain.std() == pytest.approx(sigma, rel=0.03)
    assert abs(grain.mean()) < 0.2
    assert (perturbed(flat, f"noise {sigma}", seed=1) != perturbed(flat, f"noise {sigma}", seed=2)).any()


def test_brightness_multiplies_and_clips() -> None:
    np.testing.assert_allclose(perturbed(RAMP, "brightness x2.2"), RAMP * 2.2, atol=0.51)
    np.testing.assert_allclose(perturbed(RAMP, "brightness x0.3"), RAMP * 0.3, atol=0.51)
    assert perturbed(np.full_like(RAMP, 200), "brightness x2.2").min() == 255


@pytest.mark.parametrize("name", ["blur 1.2 px", "16 px", "JPEG 20"])
def test_detail_is_lost_and_brightness_kept(name: str) -> None:
    rng = np.random.default_rng(0)
    detail = rng.integers(100, 140, (4, 48, 48), dtype=np.uint8)
    after = perturbed(detail, name)
    assert after.std() < 0.8 * detail.std()
    assert after.mean() == pytest.approx(detail.mean(), abs=1.5)


def changed_rows(name: str) -> NDArray[np.int64]:
    return np.flatnonzero((perturbed(RAMP, name) != RAMP).any((0, 2)))


def test_sunglasses_lie_over_the_eyes_and_a_mask_over_nose_and_mouth() -> None:
    glasses, mask = changed_rows("sunglasses"), changed_rows("mask")
    assert 10 <= glasses.min() <= 14
    assert 21 <= glasses.max() <= 24
    assert 27 <= mask.min() <= 30
    assert mask.max() == 47
