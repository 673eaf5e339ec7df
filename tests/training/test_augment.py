"""Random changes of training images: within their ranges, and the same for the same seed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.augment import augment, mix
from training.recipe import Augmentation, find_recipe, load_recipe

NOTHING = Augmentation(
    rotation_degrees=0,
    shift=0,
    zoom=(1, 1),
    aspect=0,
    brightness=0,
    contrast=(1, 1),
    soften_probability=0,
    erase_probability=0,
    erase_area=(0.1, 0.1),
)
BASE = load_recipe(find_recipe("base")).augmentation


def images(n: int = 64) -> NDArray[np.uint8]:
    """Smooth random images, so that a shifted pixel resembles its neighbour."""
    rng = np.random.default_rng(7)
    small = rng.integers(0, 256, (n, 6, 6), dtype=np.uint8)
    return np.stack([cv2.resize(image, (48, 48), interpolation=cv2.INTER_CUBIC) for image in small])


def only(**changes: object) -> Augmentation:
    return NOTHING.model_copy(update=changes)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_with_all_ranges_closed_images_are_only_mirrored() -> None:
    before = images()
    after = augment(before, NOTHING, rng())
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(after, before, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(after, before, strict=True)]
    assert all(m or s for m, s in zip(mirrored, same, strict=True))
    assert 10 < sum(mirrored) < 54


def test_the_same_seed_gives_the_same_images() -> None:
    np.testing.assert_array_equal(augment(images(), BASE, rng(3)), augment(images(), BASE, rng(3)))
    assert (augment(images(), BASE, rng(3)) != augment(images(), BASE, rng(4))).any()


def test_shape_type_and_grey_levels_are_kept() -> None:
    after = augment(images(), BASE, rng())
    assert after.shape == (64, 48, 48)
    assert after.dtype == np.float32
    assert 0 <= after.min() <= after.max() <= 255


def test_the_originals_are_left_alone() -> None:
    before = images()
    augment(before, BASE, rng())
    np.testing.assert_array_equal(before, images())


def test_a_shift_moves_the_picture_no_further_than_allowed() -> None:
    before = np.zeros((200, 48, 48), np.uint8)
    before[:, 22:26, 22:26] = 255
    after = augment(before, only(shift=0.1), rng())
    y, x = np.indices((48, 48))
    weight = after.sum((1, 2))
    centres = np.stack([(after * x).sum((1, 2)) / weight, (after * y).sum((1, 2)) / weight])
    distance = np.abs(centres - 23.5)
    assert 4 < distance.max() <= 4.8 + 0.05


def test_zoom_below_one_enlarges_the_face() -> None:
    before = np.zeros((50, 48, 48), np.uint8)
    before[:, 18:30, 18:30] = 255
    assert (augment(before, only(zoom=(0.8, 0.8)), rng()).mean((1, 2)) > before.mean() * 1.4).all()
    assert (augment(before, only(zoom=(1.25, 1.25)), rng()).mean((1, 2)) < before.mean() * 0.75).all()


def test_a_rotation_turns_about_the_centre() -> None:
    before = np.zeros((100, 48, 48), np.uint8)
    before[:, :, 23:25] = 255
    after = augment(before, only(rotation_degrees=20), rng())
    top = (after[:, 2] * np.arange(48)).sum(1) / after[:, 2].sum(1)
    assert 6 < np.abs(top - 23.5).max() <= 21.5 * np.tan(np.radians(20)) + 0.5
    np.testing.assert_array_less(100, after[:, 23:25, 23:25].mean((1, 2)))


def test_brightness_and_contrast_stay_in_their_ranges() -> None:
    before = np.clip(images(), 80, 160)
    brighter = augment(before, only(brightness=30), rng()).mean((1, 2)) - before.mean((1, 2))
    assert 25 < np.abs(brighter).max() <= 30.01
    spread = augment(before, only(contrast=(0.5, 1.5)), rng()).std((1, 2)) / before.std((1, 2))
    assert 0.49 < spread.min() < 0.7 < 1.3 < spread.max() < 1.51


def test_erasing_covers_the_asked_share_with_one_grey() -> None:
    before = images()
    after = augment(before, only(erase_probability=1, erase_area=(0.1, 0.1)), rng())
    for image, old in zip(after, before, strict=True):
        nearer = min((old, old[:, ::-1]), key=lambda o: np.count_nonzero(o != image))
        changed = image[nearer != image]
        assert 0.06 * 48 * 48 < len(changed) < 0.11 * 48 * 48
        assert np.ptp(changed) == 0


def test_softening_takes_detail_but_no_brightness() -> None:
    before = rng().integers(0, 256, (32, 48, 48), dtype=np.uint8)
    after = augment(before, only(soften_probability=1), rng())
    assert (after.std((1, 2)) < before.std((1, 2)) * 0.95).all()
    np.testing.assert_allclose(after.mean((1, 2)), before.mean((1, 2)), atol=2)


def test_mixup_blends_images_and_targets_with_the_same_weight() -> None:
    pictures = images(8).astype(np.float32)
    # Each target says how bright its picture is, so blended pairs must still agree.
    targets = pictures.mean((1, 2))[:, None]
    blended, wanted = mix(pictures, targets, 0.5, rng=rng())
    np.testing.assert_allclose(blended.mean((1, 2)), wanted[:, 0], rtol=1e-4)
    assert np.abs(blended - pictures).max() > 1
