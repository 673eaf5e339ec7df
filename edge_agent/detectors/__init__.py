"""How faces are found: one file for each detector, chosen by ``detector.kind``."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import DetectorConfig, ModelConfig
from edge_agent.types import Face, Framing

DetectorKind = Literal["built_in", "yunet", "whole_frame"]


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
    """Load what the configuration names.

    ``model`` names the runtime and its threads, which the built-in detector shares; OpenCV gets as many threads.

    Raises:
        DetectorError: YuNet's file is missing, damaged or not the official one.
        ModelError, MissingPackageError: the built-in network or its runtime does not work here.
    """
    import cv2

    cv2.setNumThreads(model.threads)
    match config.kind:
        case "built_in":
            from edge_agent.detectors.built_in import load_built_in

            return load_built_in(config, model)
        case "yunet":
            from edge_agent.detectors.yunet import YunetDetector

            return YunetDetector(config)
        case "whole_frame":
            from edge_agent.detectors.whole_frame import WholeFrameDetector

            return WholeFrameDetector()
