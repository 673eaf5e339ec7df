"""The audit by group: its intervals, and that its pictures can train nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.bias import FIGURES, FRAME, PICTURE, framed, mean, middle, share
from edge_agent.errors import InputError
from edge_agent.types import Box, Face
from tests.support.faces import SHARED, shared
from training.data import find_source, load


def face(x: float, y: float, score: float) -> Face:
    return Face(Box(x - 20, y - 20, 40, 40), score=score)


def test_a_share_has_wilsons_interval():
    """9 of 10: Newcombe 1998 gives 59.6 to 98.2 %."""
    assert share([True] * 9 + [False]) == pytest.approx((0.9, 0.5958, 0.9821), abs=1e-3)
    assert share([True] * 50)[1] < 1, "fifty faces found prove no detector perfect"


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(1).normal(0.5, 0.2, 400)
    value, low, high = mean(values)
    assert value == pytest.approx(values.mean(), abs=1e-4)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_only_the_face_in_the_middle_counts():
    here, surer, elsewhere = face(162, 118, 0.7), face(150, 130, 0.9), face(40, 40, 0.99)
    assert middle([here, surer, elsewhere]) is surer
    assert middle([elsewhere]) is None


def test_a_picture_is_in_the_middle_of_its_frame():
    frame = framed(np.full((200, 200, 3), 7, np.uint8))
    assert frame.shape == (FRAME[1], FRAME[0], 3)
    assert frame[FRAME[1] // 2, FRAME[0] // 2].tolist() == [7, 7, 7]
    assert min(FRAME) > PICTURE


def test_every_picture_is_in_one_group_of_each_grouping():
    result = json.loads(FIGURES.read_text())
    for grouping in ("age_group", "gender", "ethnicity"):
        groups = [row for row in result["groups"] if row["grouping"] == grouping]
        assert sum(row["pictures"] for row in groups) == result["pictures"]
        for row in groups:
            assert sum(value for value, _, _ in row["shares"]) == pytest.approx(1, abs=1e-3)


@pytest.mark.shared
def test_the_pictures_of_the_audit_are_no_training_data():
    """Their terms forbid it; nobody labelled their emotions, so `fit` has nothing to learn from."""
    archive = shared(SHARED / "data" / "bias_faces.zip")
    with pytest.raises(InputError, match="lacks the columns"):
        load(find_source(archive))
