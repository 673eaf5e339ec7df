"""The shipped detector's file, and the .json beside it, which says all that the device needs to know of it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.errors import ModelError
from edge_agent.host.runtime import read_model_file, read_tflite

SHIPPED = Path(__file__).with_name("faces.tflite")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Crop(_Strict):
    """How its boxes become crops, see :class:`edge_agent.types.Framing`."""

    scale: float = Field(gt=0)
    shift_y: float


class SelfTest(_Strict):
    """An average face (nobody's own) and what each runtime finds there."""

    picture: str
    """uint8 grey pixels of a square, row by row, in base64."""
    side: int = Field(gt=0)
    found: dict[str, tuple[float, float, float, float, float]]
    """By runtime: x, y, width and height in pixels, and the score."""
    tolerance_px: float = Field(gt=0)
    tolerance_score: float = Field(gt=0)

    def pixels(self) -> NDArray[np.uint8]:
        """Shape (side, side)."""
        return np.frombuffer(base64.b64decode(self.picture), np.uint8).reshape(self.side, self.side)


class DetectorInfo(_Strict):
    """The .json beside the network."""

    name: str
    size_bytes: int
    sha256: str
    multiple_of: int = Field(gt=0)
    """Both sides of the input are multiples of this many pixels."""
    outputs: dict[int, dict[str, int]]
    """By stride: the number of the output tensor of ``score``, ``box`` and ``points``."""
    min_score: float = Field(gt=0, lt=1)
    """What counts as a face, where the configuration says nothing else."""
    crop: Crop
    figures: dict[str, Any]
    self_test: SelfTest
    provenance: dict[str, Any]


@dataclass(frozen=True)
class DetectorFile:
    """A network that was read and is what its .json says."""

    path: Path
    info: DetectorInfo
    content: bytes


def read_detector(path: Path = SHIPPED) -> DetectorFile:
    """Read a .tflite file and its .json; raises ModelError where they are missing, damaged or of different networks."""
    if path.suffix == ".onnx":
        raise ModelError(f"{path} is a YuNet file: set detector.kind: yunet")
    info = read_info(path.with_suffix(".json"))
    return DetectorFile(path, info, read_tflite(path, info.size_bytes, info.sha256))


def read_info(path: Path) -> DetectorInfo:
    """Read and check the .json; raises ModelError."""
    try:
        return DetectorInfo.model_validate_json(read_model_file(path))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise ModelError(f"{path}: {faults}") from error
