"""From a picture and a face to the classifier's input: one definition for the device and the benchmarks.

Training reads FER-2013's images, which are already cropped.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edge_agent.types import Box, Face, Framing

FINER = 2
"""A turned face is first shrunk to this many times the size asked for, so that turning it blurs nothing."""


def crop_face(image: NDArray[np.uint8], face: Face, framing: Framing, *, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut a face out of a picture, in grey, and turn it upright where its landmarks tell its roll.

    Args:
        image: BGR of shape (height, width, 3) or grey of shape (height, width).
        face: where it is. The box may reach beyond the picture; then the picture's border is repeated.
        framing: of the detector that found it.
        size: (height, width) of the result.

    Returns:
        Grey pixels of shape (height, width, 1).
    """
    left, top, side = square(face.box, framing)
    roll = math.radians(face.roll_deg or 0.0)
    if not roll:
        return _resized(_cut(image, left, top, side=side), size)[:, :, None]
    reach = abs(math.cos(roll)) + abs(math.sin(roll))  # a turned square fits into one so many times as wide
    wide = math.ceil(side * reach)
    grey = _cut(image, left - (wide - side) // 2, top - (wide - side) // 2, side=wide)
    finer = FINER * size[0], FINER * size[1]
    around = _resized(grey, (round(finer[0] * wide / side), round(finer[1] * wide / side)))
    return _resized(_turned(around, roll, finer), size)[:, :, None]


def _cut(image: NDArray[np.uint8], left: int, top: int, *, side: int) -> NDArray[np.uint8]:
    """A grey square; beyond the picture its border is repeated."""
    import cv2

    height, width = image.shape[:2]
    x0, x1 = _span(left, side, width)
    y0, y1 = _span(top, side, height)
    part = image[y0:y1, x0:x1]
    grey = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY) if part.ndim == 3 else part
    above, below, before, behind = (max(0, gap) for gap in (y0 - top, top + side - y1, x0 - left, left + side - x1))
    if above or below or before or behind:
        grey = cv2.copyMakeBorder(grey, above, below, before, behind, cv2.BORDER_REPLICATE)
    return np.asarray(grey, np.uint8)


def _turned(grey: NDArray[np.uint8], roll: float, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The middle of a square, shape ``size``, turned back by ``roll`` radians."""
    import cv2

    cos, sin = math.cos(roll), math.sin(roll)
    (from_y, from_x), (to_y, to_x) = ((side - 1) / 2 for side in grey.shape), ((side - 1) / 2 for side in size)
    turn = np.array(
        [[cos, -sin, from_x - cos * to_x + sin * to_y], [sin, cos, from_y - sin * to_x - cos * to_y]], np.float64
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(grey, turn, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _resized(grey: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Averaging keeps what a shrunken face has; enlarging needs a slope between pixels instead."""
    import cv2

    method = cv2.INTER_AREA if grey.shape[0] > size[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, size[::-1], interpolation=method), np.uint8)


def square(box: Box, framing: Framing) -> tuple[int, int, int]:
    """What is cut out of the picture: (left, top, side) in whole pixels; it may reach beyond the picture."""
    side = max(1, round(max(box.width, box.height) * framing.scale))
    x, y = box.centre
    return round(x - side / 2), round(y + side * (framing.shift_y - 0.5)), side


def _span(start: int, length: int, limit: int) -> tuple[int, int]:
    """The part of start .. start + length inside 0 .. limit; the nearest pixel if there is none."""
    first = min(max(start, 0), limit - 1)
    return first, max(first + 1, min(start + length, limit))
