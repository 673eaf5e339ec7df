"""Reads the faces of one picture: for ``edge-agent predict`` and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import Config
from edge_agent.detectors import load_detector
from edge_agent.shares.rounding import percentages
from edge_agent.types import Face
from edge_agent.vision.classifier import load_classifier
from edge_agent.vision.crop import crop_face


@dataclass(frozen=True, slots=True)
class ReadFace:
    """One face and what it shows."""

    face: Face
    probabilities: dict[str, float]
    """Label to calibrated probability, 0 to 1, four decimals."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer about one picture."""

    image: str
    """Its name, as it was handed in."""
    detector: str
    faces: tuple[ReadFace, ...]
    percentages: dict[str, float] | None
    """Mean over the faces in percent, one decimal, sums to 100.0; None without a face."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that README documents."""
        return {
            "image": self.image,
            "detector": self.detector,
            "faces": [
                {
                    "box": [
                        round(v) for v in (item.face.box.x, item.face.box.y, item.face.box.width, item.face.box.height)
                    ],
                    "score": round(item.face.score, 3),
                    "probabilities": item.probabilities,
                }
                for item in self.faces
            ],
            "percentages": self.percentages,
        }


class Reader:
    """Loads detector and model once and reads any number of pictures.

    Raises:
        DetectorError, ModelError, MissingPackageError: as loading them does.
    """

    def __init__(self, config: Config) -> None:
        self._detector = load_detector(config.detector)
        self._classifier = load_classifier(config.model)

    def read(self, image: NDArray[np.uint8], name: str) -> Prediction:
        """Read a BGR picture of shape (height, width, 3), called ``name`` in the answer."""
        faces = self._detector.detect(image)
        crops = [crop_face(image, face, self._detector.framing, self._classifier.input_size) for face in faces]
        if not faces:
            return Prediction(name, self._detector.kind, (), None)
        scores = self._classifier.classify(np.stack(crops))
        rows = [
            {label: round(float(p), 4) for label, p in zip(scores.labels, row, strict=True)}
            for row in scores.probabilities
        ]
        mean = percentages(scores.probabilities.mean(axis=0, dtype=np.float64))
        return Prediction(
            name,
            self._detector.kind,
            tuple(ReadFace(face, row) for face, row in zip(faces, rows, strict=True)),
            dict(zip(scores.labels, mean, strict=True)),
        )
