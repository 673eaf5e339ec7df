"""Which faces are good enough, judged on a real photograph that is shrunk, blurred and smeared."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from edge_agent.config import FacesConfig
from edge_agent.detectors.yunet import YunetDetector
from edge_agent.types import Box, Face
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.crop import crop_face
from edge_agent.vision.model import load_model
from edge_agent.vision.quality import gate, look, turn

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
    assert look(smeared, FACE).sharpness < 0.25 * look(photo, FACE).sharpness
    assert gate(smeared, Face(FACE, 0.9), LIMITS).reason == "blurred"


def test_dim_light_is_no_blur(photo):
    """The measure is relative to the contrast: a third of the light changes little."""
    assert look((photo // 3).astype(np.uint8), FACE).sharpness == pytest.approx(look(photo, FACE).sharpness, rel=0.15)


def test_grain_is_no_sharpness(photo):
    """What noise adds to the second differences is taken off again: a blurred picture with grain stays blurred."""
    rng = np.random.default_rng(0)
    blurred = cv2.GaussianBlur(photo, (0, 0), 8)
    grainy = np.clip(cv2.resize(blurred, (128, 128)) + rng.normal(0, 16, (128, 128, 3)), 0, 255).astype(np.uint8)
    small = Box(FACE.x / 4, FACE.y / 4, FACE.width / 4, FACE.height / 4)
    assert look(grainy, small).noise > 3 * look(photo, FACE).noise
    assert look(grainy, small).sharpness < 0.25 * look(photo, FACE).sharpness


def spoilt(photo: np.ndarray, change: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    pixels = cv2.resize(photo, (256, 256), interpolation=cv2.INTER_AREA).astype(np.float64)
    changed = {
        "dark": pixels * 0.04,
        "dim": pixels * 0.3,
        "backlit": pixels * 0.09 + 3,
        "bright": pixels * 1.6,
        "washed_out": pixels * 8,
        "hazy": 200 + pixels * 0.05,
        "grain": pixels + rng.normal(0, 5, pixels.shape),
        "noisy": pixels + rng.normal(0, 40, pixels.shape),
        "dim and noisy": pixels * 0.2 + rng.normal(0, 8, pixels.shape),
    }[change]
    return np.clip(changed, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("dark", "dark"),
        ("dim", None),
        ("backlit", "dark"),
        ("bright", None),
        ("washed_out", "washed_out"),
        ("hazy", "washed_out"),
        ("grain", None),
        ("noisy", "noisy"),
        ("dim and noisy", "noisy"),
    ],
)
def test_light_and_noise_have_limits(photo, change, reason):
    face = Face(Box(FACE.x / 2, FACE.y / 2, FACE.width / 2, FACE.height / 2), 0.9)
    assert gate(spoilt(photo, change), face, LIMITS).reason == reason


def test_doubt_lowers_the_weight(photo):
    """Each step towards a limit makes a face say less."""
    face = Face(Box(FACE.x / 2, FACE.y / 2, FACE.width / 2, FACE.height / 2), 0.9)
    fine = gate(cv2.resize(photo, (256, 256), interpolation=cv2.INTER_AREA), face, LIMITS).weight
    for change in ("dim", "bright", "grain"):
        assert gate(spoilt(photo, change), face, LIMITS).weight < fine


@pytest.mark.parametrize(
    ("roll_deg", "reason"), [(0, None), (-39, None), (39, None), (41, "tilted"), (-90, "tilted"), (180, "tilted")]
)
def test_a_face_that_lies_is_left_out(photo, roll_deg, reason):
    """Beyond 40 degrees, by the line through the eyes and that through the mouth."""
    angle = np.deg2rad(roll_deg)
    turn_back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([220.0, 125.0])
    points = (np.array(landmarks(0.02)) - middle) @ turn_back.T + middle
    face = Face(FACE, 0.95, tuple(map(tuple, points.tolist())))
    assert face.roll_deg == pytest.approx(roll_deg, abs=1e-6)
    assert gate(photo, face, LIMITS).reason == reason


@pytest.mark.parametrize(
    ("nose_off", "reason"), [(0.0, None), (0.3, None), (-0.3, None), (0.6, "turned"), (-0.6, "turned")]
)
def test_a_turned_face_is_left_out(photo, nose_off, reason):
    """Profiles to either side go, three-quarter views stay."""
    assert gate(photo, Face(FACE, 0.9, landmarks(nose_off)), LIMITS).reason == reason


def test_the_limits_themselves_pass(photo):
    """A face is left out beyond a limit, not at it."""
    face = Face(Box(200, 100, 20, 20), 0.9, landmarks(0.5))
    limits = FacesConfig(min_size_px=20, max_turn=turn(face), min_sharpness=look(photo, face.box).sharpness)
    assert gate(photo, face, limits).reason is None


def test_turn_does_not_depend_on_tilt_and_size():
    """A head laid on its shoulder, twice as near, is as frontal as before."""
    angle = np.deg2rad(35)
    rotation = 2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = np.array(landmarks(0.2))
    tilted = tuple(map(tuple, (upright @ rotation.T).tolist()))
    assert turn(Face(FACE, 0.9, tilted)) == pytest.approx(turn(Face(FACE, 0.9, landmarks(0.2))))


def test_without_landmarks_nothing_is_known_of_the_turn(photo):
    """The whole frame as a face has none; such a face passes."""
    assert turn(Face(FACE, 0.9)) == 0.0
    assert Face(FACE, 0.9).roll_deg is None


def test_eyes_in_one_point_are_no_frontal_face():
    """Broken landmarks never divide by zero."""
    assert turn(Face(FACE, 0.9, ((1.0, 1.0),) * 5)) == np.inf


@pytest.mark.parametrize(
    "box", [Box(-300, -300, 60, 60), Box(505, 505, 60, 60), Box(1e6, 1e6, 60, 60), Box(0, 0, 60, 0.5)]
)
def test_boxes_beyond_the_picture_are_no_crash(photo, box):
    """Nothing is seen there, so nothing is sharp."""
    assert look(photo, box).sharpness >= 0.0


def test_better_faces_weigh_more(photo):
    """A smaller, less certain and more turned face says less."""
    best = gate(photo, Face(FACE, 0.95, landmarks(0.0)), LIMITS).weight
    for worse in (Face(FACE, 0.6, landmarks(0.0)), Face(FACE, 0.95, landmarks(0.4)), Face(Box(200, 80, 24, 30), 0.95)):
        assert gate(photo, worse, LIMITS).weight < best


def test_it_costs_less_than_the_face_s_emotions(photo):
    """Both in one run, the best of many: neither a slow nor a busy machine fails it."""
    face, classifier = Face(FACE, 0.9, landmarks(0.1)), Classifier(load_model())
    crop = crop_face(photo, face, YunetDetector.framing, size=classifier.input_size)

    def best_s(work: Callable[[], object]) -> float:
        times = []
        for _ in range(100):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        return min(times)

    assert best_s(lambda: gate(photo, face, LIMITS)) < best_s(lambda: classifier.classify(crop[None]))
