"""YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", MIR 2023) through OpenCV's ``FaceDetectorYN``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import DetectorConfig
from edge_agent.detectors import DetectorKind
from edge_agent.detectors.scaling import shrink
from edge_agent.detectors.yunet_file import find_yunet, how_to_get_yunet
from edge_agent.errors import DetectorError
from edge_agent.types import Box, Face, Framing

MIN_SCORE = 0.6
"""What counts as a face, where the configuration says nothing else."""
NMS_THRESHOLD = 0.3
MAX_FACES = 5000
MIN_SIDE = 64
"""Smaller pictures are filled up to this. At 32 pixels and below the coarsest of the network's three grids is a single
cell wide, and OpenCV 4.11 then answers at times, from one run to the next, with sure faces at infinity."""


class YunetDetector:
    """Finds faces with five landmarks each.

    Raises:
        DetectorError: the file is missing or OpenCV cannot load it.
    """

    kind: DetectorKind = "yunet"
    # FER-2013's faces were cut by an OpenCV cascade; other detectors draw tighter or looser boxes.
    # Chosen by benchmarks/crop_margin.py on a seeded half of wild_faces_dev.zip, with an earlier model. With the
    # shipped one and the head it publishes, the best framing differs by less than those photos can tell.
    framing = Framing(scale=0.95, shift_y=0.0)
    gives_landmarks = True

    def __init__(self, config: DetectorConfig) -> None:
        import cv2

        path = find_yunet(config.path)
        if path is None:
            raise DetectorError(f"yunet: the detector's file is not here; {how_to_get_yunet()}")
        self._longer_side = config.size
        least = MIN_SCORE if config.min_score is None else config.min_score
        try:
            self._net = cv2.FaceDetectorYN.create(
                str(path),
                "",
                (32, 32),
                least,
                NMS_THRESHOLD,
                MAX_FACES,
            )
        except cv2.error as error:
            raise DetectorError(f"yunet: OpenCV {cv2.__version__} cannot load {path}: {error.err}") from error

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """See :class:`edge_agent.detectors.Detector`."""
        small, factor = shrink(image, self._longer_side)
        small = _filled_up(small)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._net.detect(small)  # (n, 15): box, five landmarks, score
        return [] if rows is None else [_face(row, factor) for row in rows.astype(float) if np.isfinite(row).all()]


def _filled_up(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With black to the right and below, so that boxes stay where they are."""
    import cv2

    height, width = image.shape[:2]
    below, right = max(0, MIN_SIDE - height), max(0, MIN_SIDE - width)
    if not (below or right):
        return image
    return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT), np.uint8)


def _face(row: NDArray[np.float64], factor: float) -> Face:
    x, y, width, height = (row[:4] * factor).tolist()
    points = (row[4:14] * factor).reshape(5, 2).tolist()
    return Face(Box(x, y, width, height), min(1.0, float(row[14])), tuple((px, py) for px, py in points))
