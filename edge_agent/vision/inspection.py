"""One look at who is before the camera, without reading anybody: how large the faces are, how upright and how lit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import FacesConfig
from edge_agent.detectors import Detector
from edge_agent.types import Box, Trouble
from edge_agent.vision.crop import crop_face
from edge_agent.vision.quality import Reason, gate
from edge_agent.vision.upright import upright_odds
from edge_agent.vision.view import View


@dataclass(frozen=True, slots=True)
class InspectedFace:
    """One face as the gate judges it."""

    box: Box
    """In pixels of the picture."""
    reason: Reason | None
    """Why it would be left out; None where it is good."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """The faces of one picture."""

    faces: tuple[InspectedFace, ...]
    trouble: Trouble | None
    """What most of them suffer from."""


class Inspector:
    """Looks at single pictures.

    Args:
        detector: finds the faces.
        input_size: the classifier's, (height, width) in pixels.
        limits: which faces are good enough.
    """

    def __init__(self, detector: Detector, input_size: tuple[int, int], limits: FacesConfig) -> None:
        self._detector, self._input_size, self._limits = detector, input_size, limits

    def inspect(self, image: NDArray[np.uint8]) -> Inspection:
        """Judge the faces of one BGR picture of shape (height, width, 3) as the agent does."""
        faces = self._detector.detect(image)
        view = View(people=max(1, len(faces)), sightings=1)
        inspected = []
        for number, face in enumerate(faces):
            reason = gate(image, face, self._limits).reason
            crop = crop_face(image, face, self._detector.framing, size=self._input_size)
            if reason is None and upright_odds(crop) < 0:
                reason = "tilted"
                view.lean([upright_odds(np.rot90(crop, quarter)) for quarter in range(4)])
            view.see(number, reason)
            inspected.append(InspectedFace(face.box, reason))
        view.judge()
        return Inspection(tuple(inspected), view.trouble)
