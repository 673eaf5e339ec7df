"""The project's own detector: an int8 network that the classifier's runtime computes, shipped with the package."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.config import DetectorConfig, ModelConfig
from edge_agent.detectors import DetectorKind
from edge_agent.detectors.built_in_file import SHIPPED, DetectorFile, read_detector
from edge_agent.detectors.grids import Cells, Found, logit, read
from edge_agent.detectors.scaling import shrink
from edge_agent.errors import ModelError
from edge_agent.host.runtime import Interpreter, RuntimeChoice, open_interpreter
from edge_agent.types import Box, Face, Framing

COARSER = 4
"""Faces larger than those of the training are looked for in a picture so much smaller, at a sixteenth of the cost."""
# TensorFlow's own interpreter computes what litert does: both are built from its sources, with XNNPACK.
_SELF_TEST_OF = {"litert": "litert", "tflite": "tflite", "tensorflow": "litert"}


class BuiltInDetector:
    """Finds faces with five landmarks each. Not safe for use by several threads at once.

    Args:
        file: what :func:`edge_agent.detectors.built_in_file.read_detector` gives.
        longer_side: to which pictures are scaled down, in pixels.
        min_score: what counts as a face; None: what the file says.
        runtime: ``auto``, ``litert`` or ``tflite``.
        threads: for one picture.

    Raises:
        MissingPackageError: the runtime is not installed.
        ModelError: the runtime refuses the network.
    """

    kind: DetectorKind = "built_in"
    gives_landmarks = True

    def __init__(
        self,
        file: DetectorFile,
        *,
        longer_side: int,
        min_score: float | None = None,
        runtime: RuntimeChoice = "auto",
        threads: int = 1,
    ) -> None:
        self._file, self._longer_side = file, longer_side
        self._least = logit(file.info.min_score if min_score is None else min_score)
        self.framing = Framing(scale=file.info.crop.scale, shift_y=file.info.crop.shift_y)
        self.runtime_name, fine = open_interpreter(file.content, runtime, threads)
        _, coarse = open_interpreter(file.content, runtime, threads)
        self._fine, self._coarse = _Network(file, fine), _Network(file, coarse)

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """See :class:`edge_agent.detectors.Detector`; grey pictures of shape (height, width) are taken, too."""
        import cv2

        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
        small, factor = shrink(np.asarray(grey, np.uint8), self._longer_side)
        found = self.find(small)
        return [
            Face(Box(*box), score, tuple((x, y) for x, y in points))
            for box, score, points in zip(
                (found.boxes * factor).tolist(), found.scores.tolist(), (found.points * factor).tolist(), strict=True
            )
        ]

    def find(self, grey: NDArray[np.uint8]) -> Found:
        """Faces in a grey picture of shape (height, width), which is not scaled, in its pixels."""
        import cv2

        height, width = grey.shape
        size = (max(1, width // COARSER), max(1, height // COARSER))
        coarse = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
        finest = min(self._file.info.outputs)
        cells = self._fine.look(grey, self._least)
        # A grid of the coarse picture is one of the picture itself, whose cells are so many times as far apart.
        cells += [
            replace(c, stride=c.stride * COARSER) for c in self._coarse.look(coarse, self._least) if c.stride > finest
        ]
        return read(cells)

    def self_test(self) -> None:
        """Find the stored average face; raises ModelError where this runtime on this machine does not."""
        test = self._file.info.self_test
        wanted = test.found.get(_SELF_TEST_OF[self.runtime_name])
        if wanted is None:
            raise ModelError(f"{self._file.path}: no self-test is stored for {self.runtime_name}")
        found = self.find(test.pixels())
        surest = (*found.boxes[0].tolist(), float(found.scores[0])) if len(found.scores) else (0.0,) * 5
        off = [abs(a - b) for a, b in zip(surest, wanted, strict=True)]
        if max(off[:4]) > test.tolerance_px or off[4] > test.tolerance_score:
            raise ModelError(
                f"{self._file.path}: self-test failed in {self.runtime_name}: found {_shown(surest)}, "
                f"should be {_shown(wanted)}; try the other model.runtime"
            )


class _Network:
    """The network in one interpreter, whose input keeps its size as long as the pictures do."""

    def __init__(self, file: DetectorFile, interpreter: Interpreter) -> None:
        self._info, self._interpreter = file.info, interpreter
        entry = interpreter.get_input_details()[0]
        self._input, self._levels = entry["index"], _levels(*entry["quantization"])
        self._outputs = interpreter.get_output_details()
        self._entry = np.empty((0, 0), np.uint8)

    def look(self, grey: NDArray[np.uint8], least: float) -> list[Cells]:
        """What the cells say whose logit is at least ``least``, grid by grid."""
        import cv2

        height, width = grey.shape
        self._make_room(height, width)
        cv2.LUT(grey, self._levels, self._entry[:height, :width])
        self._interpreter.set_tensor(self._input, self._entry.view(np.int8)[None, :, :, None])
        self._interpreter.invoke()
        return [self._cells(stride, numbers, least) for stride, numbers in self._info.outputs.items()]

    def _make_room(self, height: int, width: int) -> None:
        """Give the network an input of at least this size; what the picture does not fill is black."""
        step = self._info.multiple_of
        shape = (-(-height // step) * step, -(-width // step) * step)
        if self._entry.shape != shape:
            self._interpreter.resize_tensor_input(self._input, [1, *shape, 1])
            self._interpreter.allocate_tensors()
        self._entry = np.full(shape, self._levels[0], np.uint8)

    def _cells(self, stride: int, numbers: dict[str, int], least: float) -> Cells:
        """The cells that may mean a face; only their answers are made floats."""
        score = self._outputs[numbers["score"]]
        steps = self._interpreter.get_tensor(score["index"])[0, :, :, 0]
        scale, zero = score["quantization"]
        rows, columns = np.nonzero(steps >= np.ceil(least / scale + zero))
        return Cells(
            stride,
            rows,
            columns,
            (steps[rows, columns].astype(np.float32) - zero) * np.float32(scale),
            self._values(numbers["box"], rows, columns),
            self._values(numbers["points"], rows, columns),
        )

    def _values(self, number: int, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        output = self._outputs[number]
        scale, zero = output["quantization"]
        steps = self._interpreter.get_tensor(output["index"])[0, rows, columns]
        return np.asarray((steps.astype(np.float32) - np.float32(zero)) * np.float32(scale), np.float32)


def load_built_in(config: DetectorConfig, model: ModelConfig) -> BuiltInDetector:
    """The shipped detector, or the one that ``detector.path`` names, self-tested, in the runtime that ``model`` names.

    Raises:
        ModelError, MissingPackageError: the network or its runtime does not work here.
    """
    detector = BuiltInDetector(
        read_detector(config.path or SHIPPED),
        longer_side=config.size,
        min_score=config.min_score,
        runtime=model.runtime,
        threads=model.threads,
    )
    detector.self_test()
    return detector


def _levels(scale: float, zero: int) -> NDArray[np.uint8]:
    """The int8 value, as a byte, of every grey level 0 to 255."""
    levels: NDArray[np.int8] = np.clip(np.round(np.arange(256) / scale) + zero, -128, 127).astype(np.int8)
    return levels.view(np.uint8)


def _shown(found: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.1f}" for value in found[:4]) + f" (score {found[4]:.2f})"
