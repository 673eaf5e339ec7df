"""Which way up a face is, by what the classifier would read."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from edge_agent.config import DetectorConfig, PrivacyConfig, WindowConfig
from edge_agent.detectors import load_detector
from edge_agent.detectors.yunet import YunetDetector
from edge_agent.shares.window import Window
from edge_agent.types import Box, Face, Frame, Framing, Trouble
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.crop import crop_face
from edge_agent.vision.model import load_model
from edge_agent.vision.pipeline import Pipeline
from edge_agent.vision.upright import upright_odds
from edge_agent.vision.view import JUDGED_PEOPLE, View, in_words
from tests.support.faces import SHARED, YUNET, astronaut_bgr, shared

SIZE = 48, 48


def landmarks_at(roll_deg: float) -> tuple[tuple[float, float], ...]:
    """Those of the astronaut's face in a picture turned by this angle, clockwise, around its middle."""
    points = np.array([(206.0, 105.0), (243.0, 105.0), (226.0, 128.0), (210.0, 145.0), (243.0, 145.0)])
    angle, middle = np.deg2rad(roll_deg), np.array([255.5, 255.5])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return tuple(map(tuple, ((points - middle) @ turn.T + middle).tolist()))


def astronaut_at(roll_deg: float) -> tuple[np.ndarray, Face]:
    """The picture turned clockwise, and its face."""
    matrix = cv2.getRotationMatrix2D((255.5, 255.5), -roll_deg, 1.0)
    image = cv2.warpAffine(astronaut_bgr(), matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    points = landmarks_at(roll_deg)
    x, y = np.mean(points, axis=0)
    return image, Face(Box(x - 60, y - 60, 120, 120), 0.9, points)


@pytest.mark.parametrize("roll_deg", [-120, -35, 0, 20, 60, 180])
def test_a_face_whose_landmarks_tell_its_roll_is_turned_upright(roll_deg):
    """What comes out is what the upright picture gives, to a few grey levels."""
    plain = Framing(scale=1.0, shift_y=0.0)
    upright = crop_face(*astronaut_at(0), plain, size=SIZE).astype(float)
    turned = crop_face(*astronaut_at(roll_deg), plain, size=SIZE).astype(float)
    assert np.abs(turned - upright).mean() < 8
    assert upright_odds(turned.astype(np.uint8)) > 0


@pytest.mark.parametrize(("quarter", "upright"), [(0, True), (1, False), (2, False), (3, False)])
def test_what_lies_or_stands_on_its_head_does_not_look_upright(quarter, upright):
    """Without landmarks, as `whole_frame` gives it."""
    image, face = astronaut_at(0)
    crop = np.rot90(crop_face(image, Face(face.box, 0.9), YunetDetector.framing, size=SIZE), quarter)
    assert (upright_odds(crop) > 0) is upright


@pytest.mark.shared
def test_landmarks_alone_do_not_tell_who_is_upside_down():
    """Of sixty photographs nearly all pass upright and nearly none upside down, though YuNet finds them."""
    detector = load_detector(DetectorConfig(kind="yunet", path=shared(YUNET)))
    with zipfile.ZipFile(shared(SHARED / "data" / "wild_faces_dev.zip")) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")][::21][:60]
        photos = [cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR) for name in names]
    passed, found = {0: 0, 2: 0}, {0: 0, 2: 0}
    for photo in photos:
        for quarter in passed:
            image = np.ascontiguousarray(np.rot90(photo, quarter))
            for face in detector.detect(image)[:1]:
                found[quarter] += 1
                odds = upright_odds(crop_face(image, face, detector.framing, size=SIZE))
                passed[quarter] += odds > 0 and abs(face.roll_deg or 0.0) < 40
    assert found[2] > 0.7 * len(photos)
    assert passed[0] > 0.9 * found[0]
    assert passed[2] < 0.15 * found[2]


def test_a_camera_is_judged_by_twenty_people_and_no_fewer():
    view = View()
    for track in range(JUDGED_PEOPLE - 1):
        for _ in range(5):
            view.see(track, "dark")
    assert not view.judge()
    assert view.trouble is None
    for _ in range(5):
        view.see(99, "dark")
    assert view.judge()
    assert view.trouble is Trouble.DARK


def test_a_fault_that_was_repaired_is_taken_back():
    view = View()
    for reason in ("noisy", None):
        for track in range(JUDGED_PEOPLE):
            for _ in range(5):
                view.see(track, reason)
        assert view.judge()
    assert view.trouble is None


def test_less_than_half_are_no_fault_of_the_camera():
    view = View()
    for track in range(JUDGED_PEOPLE):
        for _ in range(5):
            view.see(track, "tilted" if track % 2 else None)
    assert not view.judge()


@pytest.mark.parametrize(
    ("quarters", "trouble", "rotates_by"),
    [
        ([0.0, 0.0, 5.0, 0.0], Trouble.UPSIDE_DOWN, 180),
        ([0.0, 5.0, 0.0, 0.0], Trouble.TURNED_RIGHT, 270),
        ([0.0, 0.0, 0.0, 5.0], Trouble.TURNED_LEFT, 90),
        ([0.0, -1.0, -5.0, -1.0], Trouble.TILTED, None),
    ],
)
def test_the_setting_that_helps_is_known(quarters, trouble, rotates_by):
    view = View()
    for track in range(JUDGED_PEOPLE):
        for _ in range(5):
            view.see(track, "tilted")
            view.lean(quarters)
    assert view.judge()
    assert view.trouble is trouble
    assert trouble.rotates_by_deg == rotates_by


def crowd(turned_deg: int) -> Iterator[Frame]:
    """40 photographed people who move a little, before a camera that hangs turned."""
    with zipfile.ZipFile(shared(SHARED / "data" / "wild_faces_dev.zip")) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")][::31][:40]
        photos = [cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR) for name in names]
    tiles = [cv2.resize(photo, (160, 160), interpolation=cv2.INTER_AREA) for photo in photos]
    wall = np.concatenate([np.concatenate(tiles[row : row + 8], axis=1) for row in range(0, 40, 8)])
    for number in range(12):
        moved = np.roll(wall, 12 * number, axis=1)
        yield Frame(np.ascontiguousarray(np.rot90(moved, -turned_deg // 90)), number / 5)


@pytest.mark.shared
@pytest.mark.parametrize("turned_deg", [0, 180])
def test_a_camera_upside_down_publishes_nothing_and_says_what_to_set(turned_deg):
    """Upright the same people are published, and nothing is wrong."""
    classifier = Classifier(load_model(None))
    window = Window(WindowConfig(), PrivacyConfig(), classifier.head.share_estimator(classifier.labels))
    detector = load_detector(DetectorConfig(kind="yunet", path=shared(YUNET), size=1280))
    pipeline = Pipeline(detector, classifier, window, observe=lambda stage, seconds: None)
    for frame in crowd(turned_deg):
        pipeline.process(frame)
    report = window.close(window.start_s + 10)
    if turned_deg:
        assert report.shares is None
        assert pipeline.trouble is Trouble.UPSIDE_DOWN
        assert in_words(pipeline.trouble, 180) == ("faces are upside down", "set camera.rotate_deg to 0")
    else:
        assert report.shares is not None
        assert report.people is not None
        assert report.people > 25
        assert pipeline.trouble is None
