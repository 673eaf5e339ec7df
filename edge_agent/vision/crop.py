"""From a picture and a face to the classifier's input: one definition for the device and the benchmarks.

Training reads FER-2013's images, which are already cropped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.types import Box, Face, Framing


def crop_face(image: NDArray[np.uint8], face: Face, framing: Framing, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Cut a face out of a picture, in grey.

    Args:
        image: BGR of shape (height, width, 3) or grey of shape (height, width).
        face: where it is. The box may reach beyond the picture; then the picture's border is repeated.
        framing: of the detector that found it.
        size: (height, width) of the result.

    Returns:
        Grey pixels of shape (height, width, 1).
    """
    import cv2

    left, top, side = square(face.box, framing)
    height, width = image.shape[:2]
    x0, x1 = _span(left, side, width)
    y0, y1 = _span(top, side, height)
    part = image[y0:y1, x0:x1]
    grey = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY) if part.ndim == 3 else part
    above, below, before, behind = (max(0, gap) for gap in (y0 - top, top + side - y1, x0 - left, left + side - x1))
    if above or below or before or behind:
        grey = cv2.copyMakeBorder(grey, above, below, before, behind, cv2.BORDER_REPLICATE)
    # Shrinking averages pixels, which keeps detail; enlarging interpolates between them.
    method = cv2.INTER_AREA if side > size[0] else cv2.INTER_LINEAR
    resized: NDArray[np.uint8] = cv2.resize(grey, (size[1], size[0]), interpolation=method)
    return resized[:, :, None]


def square(box: Box, framing: Framing) -> tuple[int, int, int]:
    """What is cut out of the picture: (left, top, side) in whole pixels; it may reach beyond the picture."""
    side = max(1, round(max(box.width, box.height) * framing.scale))
    x, y = box.centre
    return round(x - side / 2), round(y + side * (framing.shift_y - 0.5)), side


def _span(start: int, length: int, limit: int) -> tuple[int, int]:
    """The part of start .. start + length inside 0 .. limit; the nearest pixel if there is none."""
    first = min(max(start, 0), limit - 1)
    return first, max(first + 1, min(start + length, limit))
