"""How much one face says about its person, and whether it says anything.

The thresholds were chosen by ``benchmarks/quality.py``, on PublicTest's selection half and photos from the web, with an
earlier model. Pixels are looked at inside :func:`gate` only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import FacesConfig
from edge_agent.types import Box, Face

Reason = Literal["small", "blurred", "turned"]

CLASSIFIER_SIDE_PX = 48
"""More pixels than the classifier takes make a face no better."""
SHARP_ENOUGH = 0.2
"""Sharpness from which on more of it does not help: that of the faces which the classifier was trained on."""
MIN_WEIGHT = 0.01
"""A face that passes always says something, so that a person's average is defined."""


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """The verdict on one face."""

    weight: float
    """How much this sighting counts among the others of the same person, above 0 and up to 1."""
    reason: Reason | None
    """Why the face is left out, or None when it counts."""


def gate(image: NDArray[np.uint8], face: Face, limits: FacesConfig) -> FaceQuality:
    """Judge one face; nothing of its pixels is kept.

    Args:
        image: BGR of shape (height, width, 3) or grey of shape (height, width).
        face: where it is; without landmarks (Haar) nothing is known of its turn, and it passes.
        limits: beyond which it is left out; the first that fails is the reason, in the order small, turned, blurred.
    """
    side_px = min(face.box.width, face.box.height)
    if side_px < limits.min_size_px:
        return FaceQuality(MIN_WEIGHT, "small")
    turned = turn(face)
    if turned > limits.max_turn:
        return FaceQuality(MIN_WEIGHT, "turned")
    sharp = sharpness(image, face.box)
    if sharp < limits.min_sharpness:
        return FaceQuality(MIN_WEIGHT, "blurred")
    frontal = 1.0 - 0.5 * min(1.0, turned / max(limits.max_turn, 1e-6))
    weight = min(1.0, side_px / CLASSIFIER_SIDE_PX) * math.sqrt(min(1.0, sharp / SHARP_ENOUGH)) * frontal * face.score
    return FaceQuality(min(1.0, max(MIN_WEIGHT, weight)), None)


def turn(face: Face) -> float:
    """How far the nose lies off the middle between the eyes, along their line and in units of their distance.

    0 is frontal, about 0.25 a head turned by 20 degrees, 0.5 and more a profile; 0 where there are no landmarks.
    """
    if face.landmarks is None:
        return 0.0
    (right_x, right_y), (left_x, left_y), (nose_x, nose_y) = face.landmarks[:3]
    across_x, across_y = left_x - right_x, left_y - right_y
    squared = across_x**2 + across_y**2
    if squared <= 0:
        return math.inf
    off_x, off_y = nose_x - (left_x + right_x) / 2, nose_y - (left_y + right_y) / 2
    return abs(off_x * across_x + off_y * across_y) / squared


def sharpness(image: NDArray[np.uint8], box: Box) -> float:
    """Energy of the second differences relative to the contrast, in the poorer of the two directions.

    The variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy") with two
    changes: divided by the variance of the grey values, so that dim light is not taken for blur, and taken along each
    axis alone, because a smear in one direction leaves the other sharp. The face is first shrunk to what the classifier
    sees, never enlarged. Flat or empty boxes give 0.
    """
    import cv2

    height, width = image.shape[:2]
    left, top = max(0, int(box.x)), max(0, int(box.y))
    right, bottom = max(0, min(width, int(box.x + box.width))), max(0, min(height, int(box.y + box.height)))
    part = image[top:bottom, left:right]
    if min(part.shape[:2]) < 3:
        return 0.0
    if max(part.shape[:2]) > CLASSIFIER_SIDE_PX:
        size = (min(CLASSIFIER_SIDE_PX, part.shape[1]), min(CLASSIFIER_SIDE_PX, part.shape[0]))
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    grey = (cv2.cvtColor(part, cv2.COLOR_BGR2GRAY) if part.ndim == 3 else part).astype(np.float32)
    contrast = float(grey.var())
    if contrast < 1.0:
        return 0.0
    along = min(float(np.square(np.diff(grey, 2, axis=axis)).mean()) for axis in (0, 1))
    return 2.0 * along / contrast
