"""People are counted on films of photographed faces."""

from __future__ import annotations

import pytest

from benchmarks.film import read_cutouts
from benchmarks.tracking import BOXES_ONLY, score, shoot
from edge_agent.config import DetectorConfig
from edge_agent.detectors import load_detector
from edge_agent.vision.tracking import Settings
from tests.support.faces import SHARED, YUNET, shared


@pytest.mark.shared
def test_people_on_a_film_are_counted():
    """Photographed faces that walk, cross and hide, found by the real detector: the count is off by two at most."""
    photos = shared(SHARED / "data" / "wild_faces_dev.zip")
    detector = load_detector(DetectorConfig(kind="yunet", path=shared(YUNET)))
    shots = shoot(read_cutouts(photos, detector, limit=30), 5, detector, seconds=30)
    result = score([shots], Settings(), 1)
    assert result.people >= 3
    assert result.error <= 2
    boxes_only = score([shots], BOXES_ONLY, 1)
    assert result.switches <= boxes_only.switches
