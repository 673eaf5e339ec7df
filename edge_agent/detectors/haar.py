"""OpenCV's bundled frontal-face cascade (Viola and Jones 2001): needs no file, finds fewer faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import DetectorConfig
from edge_agent.detectors import DetectorKind
from edge_agent.detectors.scaling import shrink
from edge_agent.errors import DetectorError
from edge_agent.types import Box, Face, Framing

SCALE_STEP = 1.1
MIN_NEIGHBOURS = 5
MIN_LEVEL = 2.0
"""Sum of the cascade's last stage below which a detection is dropped: false faces lie there, real ones rarely."""
SURE_LEVEL = 5.0
"""The sum at which a detection counts as certain; the cascade gives no probability."""


class HaarDetector:
    """Finds upright frontal faces, without landmarks.

    Raises:
        DetectorError: this OpenCV carries no cascades (version 5 does not).
    """

    kind: DetectorKind = "haar"
    framing = Framing(scale=1.25, shift_y=-0.05)  # chosen as YuNet's was
    gives_landmarks = False

    def __init__(self, config: DetectorConfig) -> None:
        import cv2

        self._longer_side = config.size
        path = Path(getattr(cv2, "data", cv2).__dict__.get("haarcascades", "")) / "haarcascade_frontalface_default.xml"
        if not path.is_file():
            raise DetectorError(
                f"haar: OpenCV {cv2.__version__} carries no cascades; "
                "pip install 'opencv-python-headless<5', or use yunet"
            )
        self._cascade = cv2.CascadeClassifier(str(path))

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """See :class:`edge_agent.detectors.Detector`; the score grows with the cascade's last stage, up to 1."""
        import cv2

        small, factor = shrink(image, self._longer_side)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)  # not equalised: that costs recall and brings false faces
        boxes, _, levels = self._cascade.detectMultiScale3(
            grey, SCALE_STEP, MIN_NEIGHBOURS, minSize=(20, 20), outputRejectLevels=True
        )
        return [
            Face(Box(*(float(v) * factor for v in box)), float(np.clip(level / SURE_LEVEL, 0.0, 1.0)))
            for box, level in zip(boxes, np.ravel(levels), strict=True)
            if level >= MIN_LEVEL
        ]
