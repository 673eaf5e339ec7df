"""How faces are found: one file for each detector, chosen by ``detector.kind``."""

from __future__ import annotations

import logging
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import DetectorConfig, ModelConfig
from edge_agent.types import Face, Framing

log = logging.getLogger(__name__)

DetectorKind = Literal["built_in", "yunet", "haar", "whole_frame"]


class Detector(Protocol):
    """Finds the faces of one picture."""

    kind: DetectorKind
    framing: Framing
    """How its boxes become crops."""
    gives_landmarks: bool
    """Whether faces come with landmarks, which tell how far they are turned and tilted."""

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """All faces of a BGR picture of shape (height, width, 3), boxes in its own pixels."""


def load_detector(config: DetectorConfig, model: ModelConfig = ModelConfig()) -> Detector:  # noqa: B008 (frozen)
    """Load what the configuration names; ``auto`` is YuNet if its verified file is there, else Haar.

    ``model`` names the runtime and its threads, which the built-in detector shares; OpenCV gets as many threads.

    Raises:
        DetectorError: the file is missing, damaged or not the official one.
        ModelError, MissingPackageError: the built-in network or its runtime does not work here.
    """
    import cv2

    cv2.setNumThreads(model.threads)
    match config.kind:
        case "built_in":
            from edge_agent.detectors.built_in import load_built_in

            return load_built_in(config, model)
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
