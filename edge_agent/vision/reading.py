"""Reads the faces of one picture: for ``edge-agent predict`` and the page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import Config
from edge_agent.detectors import load_detector
from edge_agent.shares.rounding import percentages
from edge_agent.types import Face
from edge_agent.vision.classifier import load_classifier
from edge_agent.vision.crop import crop_face, square
from edge_agent.vision.occlusion import occlusion_map
from edge_agent.vision.tiles import find_faces

EXPLAINED = 8
"""Faces of a picture that are explained, the largest ones: each takes 25 answers of the model."""


@dataclass(frozen=True, slots=True)
class Why:
    """Which parts of a face its strongest emotion hangs on."""

    emotion: str
    square: tuple[int, int, int]
    """(left, top, side) in pixels of the picture; it may reach beyond its edge."""
    falls: tuple[tuple[float, ...], ...]
    """How far its log-odds fall without each cell, in nats, shape (6, 6), row 0 at the top; three decimals."""


@dataclass(frozen=True, slots=True)
class ReadFace:
    """One face and what it shows."""

    face: Face
    probabilities: dict[str, float]
    """Label to calibrated probability, 0 to 1, four decimals."""
    why: Why | None = None
    """Only where it was asked for."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        box = self.face.box
        found = {
            "box": [round(v) for v in (box.x, box.y, box.width, box.height)],
            "score": round(self.face.score, 3),
            "probabilities": self.probabilities,
        }
        return found if self.why is None else found | {"why": asdict(self.why)}


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer about one picture."""

    image: str
    """Its name, as it was given."""
    detector: str
    faces: tuple[ReadFace, ...]
    percentages: dict[str, float] | None
    """Mean over the faces in percent, one decimal, sums to 100.0; None without a face."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form of ``edge-agent predict --json``."""
        return {
            "image": self.image,
            "detector": self.detector,
            "faces": [face.as_dict() for face in self.faces],
            "percentages": self.percentages,
        }


class Reader:
    """Loads detector and model once and reads any number of pictures.

    Raises:
        DetectorError, ModelError, MissingPackageError: as loading them does.
    """

    def __init__(self, config: Config) -> None:
        self._detector, self._size_px = load_detector(config.detector, config.model), config.detector.size
        self._classifier = load_classifier(config.model)

    def read(self, image: NDArray[np.uint8], name: str, *, why: bool = False) -> Prediction:
        """Read a BGR picture of shape (height, width, 3), called ``name`` in the answer; ``why`` explains it."""
        faces = find_faces(self._detector, image, self._size_px)
        crops = [crop_face(image, face, self._detector.framing, size=self._classifier.input_size) for face in faces]
        if not faces:
            return Prediction(name, self._detector.kind, (), None)
        scores = self._classifier.classify(np.stack(crops))
        rows = [
            {label: round(float(p), 4) for label, p in zip(scores.labels, row, strict=True)}
            for row in scores.probabilities
        ]
        reasons = self._reasons(faces, crops, rows) if why else {}
        mean = percentages(scores.probabilities.mean(axis=0, dtype=np.float64))
        return Prediction(
            name,
            self._detector.kind,
            tuple(ReadFace(face, row, reasons.get(i)) for i, (face, row) in enumerate(zip(faces, rows, strict=True))),
            dict(zip(scores.labels, mean, strict=True)),
        )

    def _reasons(
        self, faces: list[Face], crops: list[NDArray[np.uint8]], rows: list[dict[str, float]]
    ) -> dict[int, Why]:
        """Of the largest faces, by their number."""
        by_size = sorted(range(len(faces)), key=lambda i: -faces[i].box.width * faces[i].box.height)
        reasons = {}
        for i in by_size[:EXPLAINED]:
            strongest = max(rows[i], key=rows[i].__getitem__)
            falls = occlusion_map(self._classifier, crops[i], strongest)
            cells = tuple(tuple(round(float(fall), 3) for fall in line) for line in falls)
            reasons[i] = Why(strongest, square(faces[i].box, self._detector.framing), cells)
        return reasons
