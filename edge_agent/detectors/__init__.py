"""How faces are found: one file for each detector, chosen by ``detector.kind``."""

from __future__ import annotations

import logging
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import DetectorConfig
from edge_agent.types import Face, Framing

log = logging.getLogger(__name__)

DetectorKind = Literal["yunet", "haar", "whole_frame"]


class Detector(Protocol):
    """Finds the faces of one picture."""

    kind: DetectorKind
    framing: Framing
    """How its boxes become crops."""
    gives_landmarks: bool
    """Whether faces come with landmarks, which tell how far they are turned and tilted."""

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """All faces of a BGR picture of shape (height, width, 3), boxes in its own pixels."""


def load_detector(config: DetectorConfig) -> Detector:
    """Load what the configuration names; ``auto`` is YuNet if its verified file is there, else Haar.

    Raises:
        DetectorError: the file is missing, damaged or not the official one.
    """
    match config.kind:
        case "whole_frame":
            from edge_agent.detectors.whole_frame import WholeFrameDetector

            return WholeFrameDetector()
        case "haar":
            return _haar(config)
        case "yunet":
            return _yunet(config)
        case "auto":
            return _auto(config)


def _auto(config: DetectorConfig) -> Detector:
    from edge_agent.detectors.yunet_file import find_yunet, how_to_get_yunet

    if find_yunet(config.path) is not None:
        return _yunet(config)
    log.warning("YuNet is not here, so Haar finds the faces: slower, and it misses many; %s", how_to_get_yunet())
    return _haar(config)


def _yunet(config: DetectorConfig) -> Detector:
    from edge_agent.detectors.yunet import YunetDetector

    return YunetDetector(config)


def _haar(config: DetectorConfig) -> Detector:
    from edge_agent.detectors.haar import HaarDetector

    return HaarDetector(config)
