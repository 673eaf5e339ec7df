"""Which faces are good enough, judged on a real photograph that is shrunk, blurred and smeared."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from edge_agent.config import FacesConfig
from edge_agent.types import Box, Face
from edge_agent.vision.quality import gate, sharpness, turn

LIMITS = FacesConfig()
FACE = Box(170, 60, 110, 130)
"""Where the face is in scikit-image's astronaut()."""


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    data = pytest.importorskip("skimage.data", reason="scikit-image (extra demo) is not installed")
    return cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)


def landmarks(nose_off: float) -> tuple[tuple[float, float], ...]:
    """Eyes 40 px apart, the nose ``nose_off`` eye distances from the middle."""
    return ((200.0, 110.0), (240.0, 110.0), (220.0 + 40 * nose_off, 130.0), (205.0, 150.0), (235.0, 150.0))


def test_a_sharp_frontal_face_counts_almost_fully(photo):
    """The ordinary good face."""
    verdict = gate(photo, Face(FACE, 0.95, landmarks(0.02)), LIMITS)
    assert verdict.reason is None
    assert 0.8 < verdict.weight <= 1.0


def test_a_tiny_face_is_left_out(photo):
    """Below the configured side, whatever its sharpness."""
    assert gate(photo, Face(Box(200, 100, 19, 40), 0.9), LIMITS).reason == "small"


def test_an_unsharp_face_is_left_out(photo):
    """Out of focus: no detail is left at the size that the classifier sees."""
    blurred = cv2.GaussianBlur(photo, (0, 0), 8)
    assert gate(blurred, Face(FACE, 0.9), LIMITS).reason == "blurred"


def test_a_smear_in_one_direction_counts_as_blur(photo):
    """Motion leaves edges along it sharp; the poorer direction decides."""
    smeared = cv2.blur(photo, (41, 1))
    assert sharpness(smeared, FACE) < 0.25 * sharpness(photo, FACE)
    assert gate(smeared, Face(FACE, 0.9), LIMITS).reason == "blurred"


def test_dim_light_is_no_blur(photo):
    """The measure is relative to the contrast: a third of the light changes little."""
    assert sharpness((photo // 3).astype(np.uint8), FACE) == pytest.approx(sharpness(photo, FACE), rel=0.15)


@pytest.mark.parametrize(
    ("nose_off", "reason"), [(0.0, None), (0.3, None), (-0.3, None), (0.6, "turned"), (-0.6, "turned")]
)
def test_a_turned_face_is_left_out(photo, nose_off, reason):
    """Profiles to either side go, three-quarter views stay."""
    assert gate(photo, Face(FACE, 0.9, landmarks(nose_off)), LIMITS).reason == reason


def test_the_limits_themselves_pass(photo):
    """A face is left out beyond a limit, not at it."""
    face = Face(Box(200, 100, 20, 20), 0.9, landmarks(0.5))
    limits = FacesConfig(min_size_px=20, max_turn=turn(face), min_sharpness=sharpness(photo, face.box))
    assert gate(photo, face, limits).reason is None


def test_turn_does_not_depend_on_tilt_and_size():
    """A head laid on its shoulder, twice as near, is as frontal as before."""
    angle = np.deg2rad(35)
    rotation = 2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = np.array(landmarks(0.2))
    tilted = tuple(map(tuple, (upright @ rotation.T).tolist()))
    assert turn(Face(FACE, 0.9, tilted)) == pytest.approx(turn(Face(FACE, 0.9, landmarks(0.2))))


def test_without_landmarks_nothing_is_known_of_the_turn(photo):
    """Haar gives none; such a face passes."""
    assert turn(Face(FACE, 0.9)) == 0.0


def test_eyes_in_one_point_are_no_frontal_face():
    """Broken landmarks never divide by zero."""
    assert turn(Face(FACE, 0.9, ((1.0, 1.0),) * 5)) == np.inf


@pytest.mark.parametrize(
    "box", [Box(-300, -300, 60, 60), Box(505, 505, 60, 60), Box(1e6, 1e6, 60, 60), Box(0, 0, 60, 0.5)]
)
def test_boxes_beyond_the_picture_are_no_crash(photo, box):
    """Nothing is seen there, so nothing is sharp."""
    assert sharpness(photo, box) >= 0.0


def test_better_faces_weigh_more(photo):
    """A smaller, less certain and more turned face says less."""
    best = gate(photo, Face(FACE, 0.95, landmarks(0.0)), LIMITS).weight
    for worse in (Face(FACE, 0.6, landmarks(0.0)), Face(FACE, 0.95, landmarks(0.4)), Face(Box(200, 80, 24, 30), 0.95)):
        assert gate(photo, worse, LIMITS).weight < best


def test_it_is_cheap(photo):
    """Under 0.2 ms a face; the best of many runs, so that a busy machine does not fail it."""
    face = Face(FACE, 0.9, landmarks(0.1))

    def once() -> float:
        began = time.perf_counter()
        gate(photo, face, LIMITS)
        return time.perf_counter() - began

    assert min(once() for _ in range(100)) < 2e-4
