"""Training pictures as cameras make them: as often as asked, what is asked, and nothing of it in older recipes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.augment import augment
from training.camera import cover, photograph
from training.recipe import Augmentation, Camera, find_recipe, load_recipe

ROBUST = load_recipe(find_recipe("robust")).augmentation


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def flat(grey: int = 120, n: int = 64) -> NDArray[np.float32]:
    return np.full((n, 48, 48), grey, np.float32)


def test_a_recipe_without_a_camera_draws_the_same_images_as_ever() -> None:
    plain = ROBUST.model_copy(update={"camera": Camera()})
    images = rng().integers(0, 256, (16, 48, 48), dtype=np.uint8)
    without = Augmentation.model_validate(plain.model_dump(exclude={"camera"}))
    np.testing.assert_array_equal(augment(images, plain, rng(2)), augment(images, without, rng(2)))


def test_as_many_images_as_asked_stay_clean() -> None:
    still = ROBUST.model_copy(
        update={
            "rotation_degrees": 0, "shift": 0, "zoom": (1, 1), "aspect": 0, "brightness": 0, "contrast": (1, 1),
            "soften_probability": 0, "erase_probability": 0, "camera": Camera(probability=0.6, noise=1),
        }
    )  # fmt: skip
    after = augment(flat(n=500).astype(np.uint8), still, rng())
    clean = (after == 120).all((1, 2)).mean()
    assert 0.33 < clean < 0.47


def test_the_shipped_recipe_gives_grey_levels_and_is_the_same_for_the_same_seed() -> None:
    images = rng().integers(0, 256, (64, 48, 48), dtype=np.uint8)
    after = augment(images, ROBUST, rng(3))
    np.testing.assert_array_equal(after, augment(images, ROBUST, rng(3)))
    assert after.shape == (64, 48, 48)
    assert after.dtype == np.float32
    assert 0 <= after.min() <= after.max() <= 255


def test_noise_is_within_its_range_and_without_bias() -> None:
    taken = photograph(flat(), Camera(noise=1, noise_sigma=(10, 10)), rng())
    assert taken.std((1, 2)).max() < 24
    assert np.median(taken.std((1, 2))) == pytest.approx(10, abs=1)
    assert taken.mean() == pytest.approx(120, abs=0.5)


def test_gain_multiplies_and_clips() -> None:
    taken = photograph(flat(200), Camera(gain=1, gain_range=(0.2, 2.6)), rng()).mean((1, 2))
    assert taken.min() == pytest.approx(40, abs=15)
    assert taken.max() == 255


def test_light_from_a_side_leaves_the_mean_and_makes_a_slope() -> None:
    taken = photograph(flat(100), Camera(side_light=1), rng())
    np.testing.assert_allclose(taken.mean((1, 2)), 100, atol=2)
    assert (taken.std((1, 2)) > 8).all()


@pytest.mark.parametrize("change", ["blur", "small", "jpeg"])
def test_detail_is_lost_and_brightness_kept(change: str) -> None:
    detail = rng().integers(80, 160, (64, 48, 48)).astype(np.float32)
    taken = photograph(detail, Camera.model_validate({change: 1}), rng())
    assert (taken.std((1, 2)) < detail.std((1, 2))).mean() > 0.7
    np.testing.assert_allclose(taken.mean((1, 2)), detail.mean((1, 2)), atol=4)


@pytest.mark.parametrize(("worn", "top", "bottom"), [("glasses", 7, 26), ("mask", 21, 47)])
def test_what_is_worn_lies_where_it_is_worn_and_the_original_stays(worn: str, top: int, bottom: int) -> None:
    faces = flat(n=200).astype(np.uint8)
    covered = cover(faces, Camera.model_validate({worn: 1}), rng())
    rows = np.flatnonzero((covered != 120).any((0, 2)))
    assert top <= rows.min()
    assert rows.max() <= bottom
    assert (covered != 120).any((1, 2)).mean() > 0.95
    assert (faces == 120).all()
