"""For pictures that are already faces, such as a data set's crops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.detectors import DetectorKind
from edge_agent.types import Box, Face, Framing


class WholeFrameDetector:
    """Takes the whole picture as one face."""

    kind: DetectorKind = "whole_frame"
    framing = Framing(scale=1.0, shift_y=0.0)
    gives_landmarks = False

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """See :class:`edge_agent.detectors.Detector`."""
        height, width = image.shape[:2]
        return [Face(Box(0.0, 0.0, float(width), float(height)), 1.0)]
