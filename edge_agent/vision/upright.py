"""Is a face the right way up? Asked of the crop itself, because a detector's landmarks do not tell.

YuNet finds 88 of 100 faces that are upside down, with landmarks as if they were upright. So a small network that has
seen FER-2013's faces at every angle looks at what the classifier would read. ``training/upright.py`` makes it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WEIGHTS = Path(__file__).parents[1] / "models" / "upright.npz"
SIDE = 24
"""The crop is shrunk to this many pixels: which way up a face is shows in its large features."""
_ROWS, _COLUMNS = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
_DISC = np.hypot(_ROWS, _COLUMNS) <= SIDE / 2
"""The corners say more about the background than about the face."""


def upright_odds(crop: NDArray[np.uint8]) -> float:
    """Logarithm of the odds that a face is less than about 40 degrees from upright; 0 is as likely as not.

    Args:
        crop: what the classifier takes, grey pixels of shape (height, width, 1).
    """
    pair = np.stack([features(crop[:, :, 0]), features(crop[:, ::-1, 0])])
    first, first_bias, second, second_bias = _weights()
    return float((np.maximum(pair @ first + first_bias, 0.0) @ second + second_bias).mean())


def features(grey: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """The pixels of a disc, shape (pixels,), without the light's level and strength."""
    import cv2

    small = cv2.resize(grey.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    disc = small[_DISC]
    rows: NDArray[np.float32] = (disc - disc.mean()) / (disc.std() + 4.0)
    return rows


@cache
def _weights() -> tuple[NDArray[np.float32], ...]:
    with np.load(WEIGHTS) as file:
        return tuple(file[name].astype(np.float32) for name in ("first", "first_bias", "second", "second_bias"))
