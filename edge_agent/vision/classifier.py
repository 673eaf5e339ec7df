"""Face crops to calibrated emotion probabilities, through the int8 model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import ModelConfig
from edge_agent.errors import ModelError
from edge_agent.host.runtime import RuntimeChoice, open_interpreter
from edge_agent.shares.estimate import ShareEstimator
from edge_agent.types import EmotionScores
from edge_agent.vision.model import Head, Model, load_model, reading_id
from edge_agent.vision.site_file import site_in_use

# TensorFlow's own interpreter gives the same answers as litert: both are built from its sources, with XNNPACK.
_SELF_TEST_OF = {"litert": "litert", "tflite": "tflite", "tensorflow": "litert"}


class Classifier:
    """One model in one runtime. Not safe for use by several threads at once.

    Args:
        model: what :func:`edge_agent.vision.model.load_model` gives.
        runtime: ``auto``, ``litert`` or ``tflite``.
        threads: used for one image.
        head: the head that answers, ``fer2013`` or ``ferplus``; ``default`` takes the one that the model's .json names.
        site: file of a site's calibration, used if it is there and was made for this head of this model.

    Raises:
        InputError: the site's file cannot be read.
        MissingPackageError: the runtime is not installed.
        ModelError: the model is not full int8, or its size or label count differs from its .json.
    """

    def __init__(
        self,
        model: Model,
        runtime: RuntimeChoice = "auto",
        threads: int = 1,
        *,
        head: str = "default",
        site: Path | None = None,
    ) -> None:
        self.model = model
        self.head_name = model.info.default_head if head == "default" else head
        if self.head_name not in model.info.heads:
            raise ModelError(f"{model.path}: has no head {head!r}, only {', '.join(model.info.heads)}")
        self.head: Head = model.info.heads[self.head_name]
        self.site = None if site is None else site_in_use(site, model.info, self.head_name)
        self.runtime_name, self._interpreter = open_interpreter(model.content, runtime, threads)
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = self._interpreter.get_output_details()
        self._check_input()
        for each in model.info.heads.values():
            self._check_output(each.output)
        self._steps = _steps(*self._input["quantization"])

    @property
    def id(self) -> str:
        """How windows name what read their faces; windows of one id may be added up."""
        return reading_id(self.model.info, self.head_name, self.site)

    def share_estimator(self) -> ShareEstimator:
        """The estimator of shares from these answers."""
        return self.head.share_estimator(self.labels, self.site)

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotion names, in the order of the scores' columns."""
        return self.model.info.labels

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the crops."""
        return self.model.info.input.height, self.model.info.input.width

    def classify(self, crops: NDArray[np.uint8]) -> EmotionScores:
        """Calibrated posteriors of grey crops of shape (n, height, width, 1); n may be 0."""
        calibrated = self.head.calibrated(self.logits(crops), self.site)
        powers = np.exp(calibrated - calibrated.max(axis=1, keepdims=True))
        return EmotionScores(self.labels, (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32))

    def logits(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The head's answers before calibration, shape (n, labels)."""
        return self.all_logits(crops)[self.head_name]

    def all_logits(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """The answers of every head before calibration, shape (n, labels) each."""
        result = {}
        for name, steps in self.raw(crops).items():
            scale, zero = self._outputs[self.model.info.heads[name].output]["quantization"]
            result[name] = (steps.astype(np.float32) - zero) * np.float32(scale)
        return result

    def raw(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[np.int8]]:
        """The answers of every head as the model gives them, int8 of shape (n, labels) each."""
        tensors = {name: self._outputs[head.output]["index"] for name, head in self.model.info.heads.items()}
        answers = {name: np.empty((len(crops), len(self.labels)), np.int8) for name in tensors}
        # One by one: a batch gains nothing at this size, and tensors of a fixed size are allocated once.
        for row, crop in enumerate(crops):
            self._interpreter.set_tensor(self._input["index"], self._steps[crop[None]])
            self._interpreter.invoke()
            for name, tensor in tensors.items():
                answers[name][row] = self._interpreter.get_tensor(tensor)[0]
        return answers

    def self_test(self, tolerance: int | None = None) -> None:
        """Compare the answers to the stored crops with the stored answers.

        Args:
            tolerance: how far they may be off, in steps of the int8 scale; None: as the model's .json says.

        Raises:
            ModelError: this runtime on this machine gives other answers than it should.
        """
        test = self.model.info.self_test
        wanted = test.outputs.get(_SELF_TEST_OF[self.runtime_name])
        if wanted is None:
            raise ModelError(f"{self.model.path}: no self-test is stored for {self.runtime_name}")
        found = self.raw(self.model.self_test_crops())
        off = max(int(np.abs(found[head].astype(int) - np.array(rows)).max()) for head, rows in wanted.items())
        allowed = test.tolerance if tolerance is None else tolerance
        if off > allowed:
            raise ModelError(
                f"{self.model.path}: self-test failed in {self.runtime_name}: off by {off} steps, "
                f"{allowed} allowed; try the other model.runtime"
            )

    def _check_input(self) -> None:
        shape = (1, *self.input_size, 1)
        if tuple(self._input["shape"]) != shape or self._input["dtype"] is not np.int8:
            raise ModelError(f"{self.model.path}: takes {_describe(self._input)}, but its .json says int8 {shape}")

    def _check_output(self, number: int) -> None:
        if number >= len(self._outputs):
            raise ModelError(f"{self.model.path}: has {len(self._outputs)} outputs, but its .json asks for {number}")
        output, shape = self._outputs[number], (1, len(self.labels))
        if tuple(output["shape"]) != shape or output["dtype"] is not np.int8:
            raise ModelError(f"{self.model.path}: answers {_describe(output)}, but its .json says int8 {shape}")


def load_classifier(config: ModelConfig, site: Path | None = None) -> Classifier:
    """The classifier that a configuration asks for; raises what :func:`load_model` and :class:`Classifier` raise."""
    return Classifier(load_model(config.path), config.runtime, config.threads, head=config.labels, site=site)


def _describe(tensor: dict[str, Any]) -> str:
    return f"{tensor['dtype'].__name__} {tuple(int(side) for side in tensor['shape'])}"


def _steps(scale: float, zero: int) -> NDArray[np.int8]:
    """The int8 value of every grey level 0 to 255, by the scale and zero point that the input tensor names."""
    steps: NDArray[np.int8] = np.clip(np.round(np.arange(256) / scale) + zero, -128, 127).astype(np.int8)
    return steps
