"""Real faces for tests: scikit-image's ``astronaut()``, and the data folder next to the checkout if there is one."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

SHARED = Path(os.environ.get("COUNTENANCE_SHARED", Path(__file__).parents[2].parent / "shared"))
YUNET = SHARED / "data" / "face_detection_yunet_2023mar.onnx"
FACE_CENTRE = 224, 118
"""(x, y) of the face in the picture."""


def astronaut_bgr() -> NDArray[np.uint8]:
    """The picture, shape (512, 512, 3), BGR."""
    return cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)


def write_astronaut(path: Path) -> Path:
    """Write the picture to ``path`` and return it."""
    assert cv2.imwrite(str(path), astronaut_bgr())
    return path


def shared(path: Path) -> Path:
    """``path`` of the data folder, or a skip that names it."""
    if not path.exists():
        pytest.skip(f"needs {path.name} of the data folder that COUNTENANCE_SHARED names")
    return path
