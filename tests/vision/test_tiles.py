"""Faces of 24 pixels are found in a still picture of any size, each once."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_agent.config import DetectorConfig
from edge_agent.detectors import load_detector
from edge_agent.types import Box, Face, Framing
from edge_agent.vision.tiles import corners, find_faces, levels, surest
from tests.support.faces import YUNET, astronaut_bgr, shared


class Blobs:
    """Finds white squares of 12 pixels and more, as large as they are in a picture scaled down to 320 pixels."""

    kind = "yunet"
    framing = Framing(1.0, 0.0)

    def __init__(self) -> None:
        self.looks = 0

    def detect(self, image: np.ndarray) -> list[Face]:
        self.looks += 1
        factor = max(1.0, max(image.shape[:2]) / 320)
        small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        found = cv2.connectedComponentsWithStats((small[:, :, 0] > 128).astype(np.uint8))[2][1:]
        return [
            Face(
                Box(*(factor * float(v) for v in row[:4])),
                min(1.0, row[2] / 100),
                ((factor * row[0], factor * row[1]),),
            )
            for row in found
            if min(row[2:4]) >= 12
        ]


@pytest.mark.parametrize("size", [(200, 300), (2000, 3000), (3000, 400), (321, 321)])
def test_every_face_is_found_once_in_a_picture_of_any_size(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    random, want = np.random.default_rng(1), []
    for _ in range(40):
        side = int(random.choice([24, 40, 90, 180]))
        top, left = (int(random.integers(0, max(1, length - side))) for length in size)
        if side < min(size) and not image[max(0, top - 4) : top + side + 4, max(0, left - 4) : left + side + 4].any():
            image[top : top + side, left : left + side] = 255
            want.append((left, top, side))
    found = sorted((face.box.x, face.box.y, face.box.width) for face in find_faces(Blobs(), image, 320))
    assert len(found) == len(want)
    assert np.abs(np.array(found) - np.array(sorted(want))).max() < 12
    assert all(face.landmarks == ((face.box.x, face.box.y),) for face in find_faces(Blobs(), image, 320))


def test_a_picture_that_the_detector_sees_whole_is_looked_at_once() -> None:
    detector = Blobs()
    find_faces(detector, np.zeros((240, 320, 3), np.uint8), 320)
    assert detector.looks == 1


def test_the_detector_that_takes_the_picture_for_a_face_gets_no_tiles() -> None:
    detector = Blobs()
    detector.kind = "whole_frame"
    find_faces(detector, np.zeros((2000, 3000, 3), np.uint8), 320)
    assert detector.looks == 1


def test_tiles_cover_everything_and_overlap() -> None:
    assert levels(320, 320) == []
    assert levels(3000, 320) == [2560, 1280, 640, 320]
    for height, width, side in ((2000, 3000, 320), (321, 5000, 320), (100, 1000, 320)):
        seen = np.zeros((height, width), np.uint8)
        for top, left in corners(height, width, side):
            assert top >= 0
            assert left >= 0
            seen[top : top + side, left : left + side] += 1
        assert seen.min() >= 1


def test_the_surest_of_overlapping_faces_stays() -> None:
    part, whole, other = Face(Box(0, 0, 40, 20), 0.7), Face(Box(0, 0, 40, 40), 0.9), Face(Box(60, 0, 40, 40), 0.6)
    assert surest([part, other, whole]) == [whole, other]


def test_a_group_photo_of_many_megapixels_shows_all_its_faces() -> None:
    detector = load_detector(DetectorConfig(kind="yunet", path=shared(YUNET)))
    picture = astronaut_bgr()
    (face,) = detector.detect(picture)
    x, y = (round(value) for value in face.box.centre)
    image = np.full((2000, 3000, 3), 110, np.uint8)
    for number in range(12):
        factor = (24, 48, 150)[number % 3] / face.box.width
        head = cv2.resize(picture[y - 100 : y + 120, x - 110 : x + 110], None, fx=factor, fy=factor)
        top, left = 60 + 480 * (number // 3), 150 + 900 * (number % 3)
        image[top : top + len(head), left : left + len(head[0])] = head
    widths = sorted(found.box.width for found in find_faces(detector, image, 320))
    assert len(widths) == 12
    assert widths[0] == pytest.approx(24, abs=5)
    assert widths[-1] == pytest.approx(150, abs=20)
