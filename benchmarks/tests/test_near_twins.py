"""What counts as a near twin of a training image, on a real photograph."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.near_twins import CORRELATIONS, best_correlations

THRESHOLD = min(CORRELATIONS)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    data = pytest.importorskip("skimage.data", reason="scikit-image (extra demo) is not installed")
    grey = cv2.cvtColor(data.astronaut()[40:200, 150:310], cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda image: image, id="same"),
        pytest.param(lambda image: image[:, ::-1], id="mirrored"),
        pytest.param(lambda image: np.roll(image, 1, axis=1), id="moved"),
        pytest.param(lambda image: (image * 0.6 + 60).astype(np.uint8), id="relit"),
    ],
)
def test_a_copy_that_was_worked_on_is_a_twin(face, change):
    assert best_correlations(change(face)[None], np.stack([255 - face, face]))[0] > THRESHOLD


def test_strangers_and_flat_images_are_none(face):
    others = np.stack([np.roll(face, 12, axis=0), np.full_like(face, 90)])
    assert best_correlations(np.stack([face, np.zeros_like(face)]), others).max() < THRESHOLD
