"""Cutting faces out: the result is the square that was asked for, also beyond the edges."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.types import Box, Face, Framing
from edge_agent.vision.crop import crop_face

PLAIN = Framing(scale=1.0, shift_y=0.0)
SIZE = 48, 48


def face(x: float, y: float, width: float, height: float) -> Face:
    return Face(Box(x, y, width, height), 1.0)


def test_a_face_of_the_output_size_is_copied_pixel_by_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 120), dtype=np.uint8)
    crop = crop_face(image, face(30, 20, 48, 48), PLAIN, size=SIZE)
    assert crop.shape == (48, 48, 1)
    np.testing.assert_array_equal(crop[:, :, 0], image[20:68, 30:78])


def test_beyond_the_edge_the_border_is_repeated() -> None:
    image = np.tile(np.arange(60, dtype=np.uint8)[:, None], (1, 60))
    crop = crop_face(image, face(20, -24, 48, 48), PLAIN, size=SIZE)[:, :, 0]
    assert (crop[:24] == 0).all()
    assert crop[24:, 0].tolist() == list(range(24))


def test_grey_is_weighted_as_the_eye_sees_it_in_bgr_order() -> None:
    """Red is brighter than blue by ITU-R BT.601; a swapped colour order would exchange them."""
    blue, red = np.zeros((48, 48, 3), np.uint8), np.zeros((48, 48, 3), np.uint8)
    blue[:, :, 0] = red[:, :, 2] = 255
    assert crop_face(blue, face(0, 0, 48, 48), PLAIN, size=SIZE)[0, 0, 0] == 29
    assert crop_face(red, face(0, 0, 48, 48), PLAIN, size=SIZE)[0, 0, 0] == 76


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    # A third of the size: a slope between pixels would pick the middle of each nine, which is black or white.
    chequers = (np.indices((144, 144)).sum(0) % 2 * 255).astype(np.uint8)
    crop = crop_face(chequers, face(0, 0, 144, 144), PLAIN, size=SIZE)
    assert np.abs(crop.astype(int) - 127).max() <= 255 / 9


def test_enlarging_makes_slopes_and_no_steps() -> None:
    edge = np.repeat(np.array([[0, 255]], np.uint8), 12, axis=1)
    row = crop_face(np.tile(edge, (24, 1)), face(0, 0, 24, 24), PLAIN, size=SIZE)[0, :, 0].tolist()
    assert row == sorted(row)
    assert {0, 255} < set(row)


def test_the_longer_side_is_scaled_and_the_centre_shifted() -> None:
    image = np.tile(np.arange(200, dtype=np.uint8)[:, None], (1, 200))
    crop = crop_face(image, face(90, 80, 20, 40), Framing(scale=1.2, shift_y=-0.25), size=SIZE)
    # The box's middle is at 100; 48 pixels high, a quarter of that higher up: rows 64 to 111.
    assert crop[:, 0, 0].tolist() == list(range(64, 112))


def test_a_larger_input_size_is_honoured() -> None:
    image = np.zeros((30, 30, 3), np.uint8)
    assert crop_face(image, face(0, 0, 30, 30), PLAIN, size=(64, 56)).shape == (64, 56, 1)


@given(
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
    width=st.floats(0, 300),
    height=st.floats(0, 300),
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
)
@settings(max_examples=200, deadline=None)
def test_any_box_gives_a_crop(x: float, y: float, width: float, height: float, size: tuple[int, int]) -> None:
    """Boxes wholly outside, without any area or larger than the picture included."""
    image = np.full((*size, 3), 77, np.uint8)
    crop = crop_face(image, face(x, y, width, height), Framing(1.1, -0.05), size=SIZE)
    assert crop.shape == (48, 48, 1)
    assert crop.dtype == np.uint8
    assert (crop == 77).all()
