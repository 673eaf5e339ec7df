"""How much one face says about its person, and whether it says anything.

The limits were chosen by ``benchmarks/quality.py``, on PublicTest's selection half and photos from the web. Pixels are
looked at inside :func:`gate` only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import FacesConfig
from edge_agent.types import Box, Face

Reason = Literal["small", "turned", "tilted", "dark", "washed_out", "noisy", "blurred", "still"]
"""``still`` and half of ``tilted`` are judged over time, in :mod:`edge_agent.vision.pipeline`; the rest by the gate."""

CLASSIFIER_SIDE_PX = 48
"""More pixels than the classifier takes make a face no better."""
SHARP_ENOUGH = 0.2
"""Sharpness from which on more of it does not help: that of the faces which the classifier was trained on."""
SPAN_ENOUGH = 80.0
"""Grey levels between a face's dark and light parts from which on more of them do not help."""
CLEAN = 0.02
"""Noise up to which less of it does not help: that of ordinary photographs."""
CLIPPED_LEVEL = 250
"""From this grey level on a pixel is white, and what it showed is lost."""
MIN_WEIGHT = 0.01
"""A face that passes always says something, so that a person's average is defined."""


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """The verdict on one face."""

    weight: float
    """How much this sighting counts among the others of the same person, above 0 and up to 1."""
    reason: Reason | None
    """Why the face is left out, or None when it counts."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the pixels of one face say of the picture's quality."""

    sharpness: float
    """Energy of the second differences relative to the contrast, in the poorer of the two directions, noise left out.

    The variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy") with three
    changes: divided by the variance of the grey values, so that dim light is not taken for blur; taken along each axis
    alone, because a smear in one direction leaves the other sharp; less what the noise adds, so that grain is not taken
    for detail."""
    noise: float
    """Standard deviation of the noise as a share of the span, 0 and up (Immerkaer 1996, "Fast Noise Variance
    Estimation", with the median instead of the mean, because edges do not move it)."""
    span: float
    """Grey levels between the darkest and the lightest fiftieth of the pixels, 0 to 255."""
    clipped: float
    """Share of pixels that are white, 0 to 1."""
    level: float
    """Mean grey level, 0 to 255."""


def gate(image: NDArray[np.uint8], face: Face, limits: FacesConfig) -> FaceQuality:
    """Judge one face; nothing of its pixels is kept.

    Args:
        image: BGR of shape (height, width, 3) or grey of shape (height, width).
        face: where it is; without landmarks nothing is known of its turn and roll, and it passes these.
        limits: beyond which it is left out; the first that fails, in the order of :data:`Reason`, is the reason.
    """
    side_px = min(face.box.width, face.box.height)
    if side_px < limits.min_size_px:
        return FaceQuality(MIN_WEIGHT, "small")
    turned = turn(face)
    if turned > limits.max_turn:
        return FaceQuality(MIN_WEIGHT, "turned")
    if abs(face.roll_deg or 0.0) > limits.max_roll_deg:
        return FaceQuality(MIN_WEIGHT, "tilted")
    seen = look(image, face.box)
    reason = _spoilt(seen, limits)
    if reason is not None:
        return FaceQuality(MIN_WEIGHT, reason)
    frontal = 1.0 - 0.5 * min(1.0, turned / max(limits.max_turn, 1e-6))
    clean = 1.0 - 0.75 * min(1.0, max(0.0, seen.noise - CLEAN) / max(limits.max_noise - CLEAN, 1e-6))
    lit = min(1.0, seen.span / SPAN_ENOUGH) * (1.0 - seen.clipped)
    weight = min(1.0, side_px / CLASSIFIER_SIDE_PX) * math.sqrt(min(1.0, seen.sharpness / SHARP_ENOUGH) * lit)
    return FaceQuality(min(1.0, max(MIN_WEIGHT, weight * frontal * clean * face.score)), None)


def _spoilt(seen: Look, limits: FacesConfig) -> Reason | None:
    """What light and lens did to the face that is too much."""
    if seen.span < limits.min_contrast:
        return "dark" if seen.level < 128 else "washed_out"
    if seen.clipped > limits.max_clipped:
        return "washed_out"
    if seen.noise > limits.max_noise:
        return "noisy"
    return "blurred" if seen.sharpness < limits.min_sharpness else None


def turn(face: Face) -> float:
    """How far the nose is from the middle between the eyes, along their line and in units of their distance.

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


def look(image: NDArray[np.uint8], box: Box) -> Look:
    """Measure a face, first shrunk to what the classifier sees, never enlarged. Flat or empty boxes give no span."""
    import cv2

    height, width = image.shape[:2]
    left, top = max(0, int(box.x)), max(0, int(box.y))
    right, bottom = max(0, min(width, int(box.x + box.width))), max(0, min(height, int(box.y + box.height)))
    part = image[top:bottom, left:right]
    if min(part.shape[:2]) < 3:
        return Look(sharpness=0.0, noise=0.0, span=0.0, clipped=0.0, level=0.0)
    if max(part.shape[:2]) > CLASSIFIER_SIDE_PX:
        size = (min(CLASSIFIER_SIDE_PX, part.shape[1]), min(CLASSIFIER_SIDE_PX, part.shape[0]))
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    grey = (cv2.cvtColor(part, cv2.COLOR_BGR2GRAY) if part.ndim == 3 else part).astype(np.float32)
    tail = grey.size // 50
    ordered = np.partition(grey, (tail, -1 - tail), axis=None)
    span, contrast, sigma = float(ordered[-1 - tail] - ordered[tail]), float(grey.var()), noise(grey)
    detail = min(float(np.square(np.diff(grey, 2, axis=axis)).mean()) for axis in (0, 1)) - 6.0 * sigma**2
    return Look(
        sharpness=2.0 * max(0.0, detail) / max(contrast - sigma**2, 1.0),
        noise=sigma / max(span, 1.0),
        span=span,
        clipped=float((grey >= CLIPPED_LEVEL).mean()),
        level=float(grey.mean()),
    )


def noise(grey: NDArray[np.float32]) -> float:
    """Standard deviation of the noise in grey levels, of a picture of at least 3 x 3 pixels."""
    across = np.diff(grey, 2, axis=0)
    residual = np.abs(np.diff(across, 2, axis=1)).ravel()
    # The mask's coefficients have a sum of squares of 36; 0.6745 is the median of |N(0, 1)|.
    return float(np.partition(residual, len(residual) // 2)[len(residual) // 2]) / (6.0 * 0.6745)
