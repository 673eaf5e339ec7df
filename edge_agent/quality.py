"""How much one face says about its person, and whether it says anything: the last place but one that sees pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.types import Face


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """The verdict on one face."""

    weight: float
    """How much this sighting counts among the others of the same person, above 0 and up to 1."""
    reason: str | None
    """Why the face is left out (``small``, ``blurred``, ``turned``), or None when it counts."""


def gate(image: NDArray[np.uint8], face: Face) -> FaceQuality:
    """Judge one face of ``image`` (BGR, shape (height, width, 3)); keeps nothing of it."""
    short_side = min(face.box.width, face.box.height)
    if short_side < 20:
        return FaceQuality(weight=0.01, reason="small")
    return FaceQuality(weight=min(1.0, short_side / 48) * max(face.score, 0.1), reason=None)
