"""The logits that a .tflite file gives for many images, head by head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge_agent.errors import ModelError
from edge_agent.host.runtime import RuntimeChoice, open_interpreter
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model

Answers = dict[str, NDArray[np.float32]]
_CHUNK = 64


def ask(path: Path, images: NDArray[np.uint8], runtime: RuntimeChoice = "auto") -> Answers:
    """Logits (n, labels) by head for grey images (n, height, width).

    A model with its .json goes through :class:`edge_agent.vision.classifier.Classifier`, as on the device; any other
    .tflite file, float ones too, through the bare interpreter. Raises ModelError and MissingPackageError.
    """
    if path.with_suffix(".json").is_file():
        return ask_classifier(Classifier(load_model(path), runtime), images)
    return _ask_file(path, images, runtime)


def ask_classifier(classifier: Classifier, images: NDArray[np.uint8]) -> Answers:
    """The same for a classifier that is there already."""
    parts = [
        classifier.all_logits(images[start : start + _CHUNK, :, :, None])
        for start in tqdm(
            range(0, len(images), _CHUNK), desc=classifier.runtime_name, unit_scale=_CHUNK, leave=False, disable=None
        )
    ]
    return {head: np.concatenate([part[head] for part in parts]) for head in parts[0]}


def published(classifier: Classifier, images: NDArray[np.uint8]) -> Answers:
    """What a device's top labels come from: calibrated logits by head, softmax of which are the posteriors."""
    return {
        name: classifier.model.info.heads[name].calibrated(logits)
        for name, logits in ask_classifier(classifier, images).items()
    }


def _ask_file(path: Path, images: NDArray[np.uint8], runtime: RuntimeChoice) -> Answers:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot read the model: {error.strerror}") from error
    _, interpreter = open_interpreter(content, runtime)
    entry, outputs = interpreter.get_input_details()[0], interpreter.get_signature_runner().get_output_details()
    rows: dict[str, list[NDArray[np.float32]]] = {head: [] for head in outputs}
    for image in tqdm(images, desc=path.name, leave=False, disable=None):
        interpreter.set_tensor(entry["index"], _enter(image[None, :, :, None], entry))
        interpreter.invoke()
        for head, output in outputs.items():
            rows[head].append(_leave(interpreter.get_tensor(output["index"])[0], output))
    return {head: np.stack(answers) for head, answers in rows.items()}


def _enter(image: NDArray[np.uint8], tensor: dict[str, Any]) -> NDArray[Any]:
    if tensor["dtype"] is not np.int8:
        return image.astype(np.float32)
    scale, zero = tensor["quantization"]
    steps: NDArray[np.int8] = np.clip(np.round(image / scale) + zero, -128, 127).astype(np.int8)
    return steps


def _leave(answer: NDArray[Any], tensor: dict[str, Any]) -> NDArray[np.float32]:
    scale, zero = tensor["quantization"]  # both 0 in a float tensor
    numbers: NDArray[np.float32] = (answer.astype(np.float32) - np.float32(zero)) * np.float32(scale or 1)
    return numbers
