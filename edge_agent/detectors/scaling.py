"""Detection runs on a smaller picture: its cost grows with the pixels, and faces can still be found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shrink(image: NDArray[np.uint8], longer_side: int) -> tuple[NDArray[np.uint8], float]:
    """Scale down until the longer side has ``longer_side`` pixels; never up.

    Halving is exact averages and several times as fast as any other factor (1080p to 448: 1.2 ms instead of 6.7). What
    is left is less than a half, where a slope between neighbours skips no pixel.

    Returns:
        The picture, and the factor that brings its coordinates back to the original's.
    """
    import cv2

    height, width = image.shape[:2]
    factor = max(height, width) / longer_side
    if factor <= 1.0:
        return image, 1.0
    size = max(1, round(width / factor)), max(1, round(height / factor))
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1]:
        half = image.shape[1] // 2, image.shape[0] // 2
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    if image.shape[1::-1] != size:
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return image, factor
