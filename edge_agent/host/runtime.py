"""The interpreter of .tflite files. Three packages have the same one, and only this module looks for them.

Detectors and the classifier run in it, and their files are checked here in the same way.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import platform
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import MissingPackageError, ModelError

log = logging.getLogger(__name__)

RuntimeChoice = Literal["auto", "litert", "tflite"]

_TFLITE_MARK = b"TFL3"  # FlatBuffers' file identifier, bytes 4 to 8
_MODULES = {
    "litert": "ai_edge_litert.interpreter",
    "tflite": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite",
}
# litert first: it runs int8 through XNNPACK, the last tflite-runtime does not.
_TRIED: dict[str, tuple[str, ...]] = {
    "auto": ("litert", "tflite", "tensorflow"),
    "litert": ("litert",),
    "tflite": ("tflite",),
}
_INSTALL = {
    "auto": "pip install ai-edge-litert",
    "litert": "pip install ai-edge-litert",
    "tflite": "pip install tflite-runtime 'numpy<2' (it exists up to Python 3.11)",
}


class Interpreter(Protocol):
    """The part of the interpreter that all three packages have and that we use."""

    def allocate_tensors(self) -> None:
        """Allocate the tensors; needed before anything else."""

    def resize_tensor_input(self, index: int, size: list[int]) -> None:
        """Give an input another shape; tensors must be allocated again."""

    def get_input_details(self) -> list[dict[str, Any]]:
        """Index, shape, dtype and quantization of the inputs."""

    def get_output_details(self) -> list[dict[str, Any]]:
        """Index, shape, dtype and quantization of the outputs."""

    def set_tensor(self, index: int, value: NDArray[Any]) -> None:
        """Copy a value in."""

    def invoke(self) -> None:
        """Run the model once."""

    def get_tensor(self, index: int) -> NDArray[Any]:
        """Copy a value out."""

    def get_signature_runner(self) -> Any:
        """The model with the names that its author gave to inputs and outputs."""


def open_interpreter(content: bytes, choice: RuntimeChoice = "auto", threads: int = 1) -> tuple[str, Interpreter]:
    """The name of the runtime that was found, and its interpreter of a .tflite file's content.

    Raises:
        MissingPackageError: the runtime, or any with ``auto``, is not installed or broken; the reasons are named.
        ModelError: the interpreter refuses the model.
    """
    name, module = _find(choice)
    try:
        interpreter: Interpreter = module.Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{name} refuses the model: {str(error).splitlines()[0]}") from error
    log.info("model runs in %s with %d thread(s)", name, threads)
    return name, interpreter


def runs_on(choice: RuntimeChoice = "auto") -> str:
    """Runtime and processor, e.g. ``litert/aarch64``; TensorFlow's own interpreter is litert's.

    Raises:
        MissingPackageError: as :func:`open_interpreter` does.
    """
    name, _ = _find(choice)
    return f"{'litert' if name == 'tensorflow' else name}/{platform.machine()}"


def read_tflite(path: Path, size_bytes: int, sha256: str) -> bytes:
    """The content of a .tflite file; raises ModelError if it does not match the .json next to it."""
    content = read_model_file(path)
    if len(content) < size_bytes:
        raise ModelError(f"{path}: truncated: {len(content)} of {size_bytes} bytes; copy it again")
    if content[4:8] != _TFLITE_MARK:
        raise ModelError(f"{path}: not a TFLite file")
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ModelError(
            f"{path}: its sha256 begins {found[:12]}, but {path.with_suffix('.json').name} says {sha256[:12]}; "
            "the two files belong to different models"
        )
    return content


def read_model_file(path: Path) -> bytes:
    """A file's content; raises ModelError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror}") from error


def _find(choice: RuntimeChoice) -> tuple[str, Any]:
    reasons = []
    for name in _TRIED[choice]:
        try:
            module = importlib.import_module(_MODULES[name])
        except ImportError as error:
            reasons.append(str(error).partition("\n")[0])
            continue
        if name == "tflite" and int(np.__version__.split(".")[0]) >= 2:
            # It imports, and then its first Interpreter dies.
            reasons.append(f"tflite-runtime needs numpy 1, not {np.__version__}")
            continue
        return name, module
    wanted = "no interpreter for the model is" if choice == "auto" else f"{choice}, which model.runtime names, is not"
    raise MissingPackageError(f"{wanted} usable here ({'; '.join(reasons)}): {_INSTALL[choice]}")
