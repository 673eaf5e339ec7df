"""The shipped model: a .tflite file, and a .json next to it with all that the device needs to know about it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_agent.errors import ModelError
from edge_agent.host.runtime import read_model_file, read_tflite
from edge_agent.shares.estimate import ShareEstimator
from edge_agent.shares.reference import ReferenceFaces, base64_text
from edge_agent.shares.site import Site

MODELS = Path(__file__).parents[1] / "models"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Input(_Strict):
    """What the model expects as input."""

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    colour: Literal["grey"]


class Head(_Strict):
    """One set of answers: as FER-2013's labels say, or as FER+'s voters say."""

    output: int = Field(ge=0)
    """Number of the output tensor."""
    temperature: float = Field(gt=0)
    bias: tuple[float, ...]
    """Bias-corrected temperature scaling (Alexandari et al. 2020): posterior = softmax(logits / temperature + bias)."""
    prior: tuple[float, ...]
    """Shares of the labels among the images that the calibration was fitted on; sums to 1."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts on all of PublicTest: row the true label, column the top label."""
    figures: dict[str, float]
    """Accuracy, macro-F1 and calibration error, as measured at export."""
    reference: ReferenceFaces | None = None
    """If it is missing, shares are plain averages."""

    def calibrated(self, logits: NDArray[np.float32], site: Site | None = None) -> NDArray[np.float32]:
        """Calibrated logits, softmax of which are the posteriors, from the network's own, shape (n, labels) each."""
        calibrated = logits / np.float32(self.temperature) + np.array(self.bias, np.float32)
        return calibrated if site is None else site.reread(calibrated)

    def share_estimator(self, labels: tuple[str, ...], site: Site | None = None) -> ShareEstimator:
        """The estimator of shares from this head's posteriors, with the same site as they."""
        reference = self.reference.decode() if self.reference is not None else None
        estimator = ShareEstimator(labels, self.prior, reference)
        return estimator if site is None else estimator.at_site(site.weights, site.reference)


class SelfTest(_Strict):
    """Average faces (nobody's own) and the raw outputs that each runtime gives for them."""

    crops: Annotated[str, AfterValidator(base64_text)]
    """uint8 pixels of shape (n, height, width, 1), in base64."""
    tolerance: int = Field(ge=0)
    """How far an output may be off, in steps of the int8 scale."""
    outputs: dict[str, dict[str, list[list[int]]]]
    """By runtime and head: rows of int8 values, one a crop."""


class ModelInfo(_Strict):
    """The .json next to the model."""

    name: str
    labels: tuple[str, ...] = Field(min_length=2)
    input: Input
    size_bytes: int
    sha256: str
    default_head: str
    heads: dict[str, Head] = Field(min_length=1)
    self_test: SelfTest
    provenance: dict[str, Any]

    @model_validator(mode="after")
    def _fits_together(self) -> ModelInfo:
        if self.default_head not in self.heads:
            raise ValueError(f"default_head {self.default_head!r} is none of {', '.join(self.heads)}")
        n = len(self.labels)
        for name, head in self.heads.items():
            rows = (head.bias, head.prior, head.confusion, *head.confusion)
            if any(len(row) != n for row in rows):
                raise ValueError(f"head {name!r} is not made for {n} labels")
            if head.reference is not None and head.reference.decode().posteriors.shape[1] != n:
                raise ValueError(f"head {name!r} has a reference that is not made for {n} labels")
        return self


@dataclass(frozen=True)
class Model:
    """A model that was read and matches its .json."""

    path: Path
    info: ModelInfo
    content: bytes
    """The .tflite file."""

    def self_test_crops(self) -> NDArray[np.uint8]:
        """The stored crops, shape (n, height, width, 1)."""
        pixels = np.frombuffer(base64.b64decode(self.info.self_test.crops), dtype=np.uint8)
        return pixels.reshape(-1, self.info.input.height, self.info.input.width, 1)


def reading_id(info: ModelInfo, head: str, site: Site | None = None) -> str:
    """How messages name what reads the faces: the model's name, 12 digits of its hash, a head that is not usual, and
    the site's calibration.
    """
    parts = [f"{info.name}@{info.sha256[:12]}", *([] if head == info.default_head else [head])]
    return "+".join([*parts, *([] if site is None else [f"site@{site.id}"])])


def default_model_path() -> Path:
    """The model in the package; ``tiny.tflite`` next to it is for the smallest boards."""
    return MODELS / "emotion.tflite"


def load_model(path: Path | None = None) -> Model:
    """Read a .tflite file and its .json; None takes the shipped one.

    Raises:
        ModelError: one of them is missing, truncated, or does not match the other.
    """
    path = path or default_model_path()
    info = read_info(path.with_suffix(".json"))
    content = read_tflite(path, info.size_bytes, info.sha256)
    return Model(path, info, content)


def read_info(path: Path) -> ModelInfo:
    """Read and check a model's .json; raises ModelError."""
    try:
        return ModelInfo.model_validate_json(read_model_file(path))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise ModelError(f"{path}: {faults}") from error
