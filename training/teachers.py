"""Answers of finished runs (the teachers) to the training images, computed once and kept in the run folder."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import InputError
from training.data import HEADS, Faces
from training.files import write_atomically
from training.metrics import softmax
from training.released import read_weights
from training.twin import twin_of

log = logging.getLogger(__name__)


def teach(runs: list[Path], faces: Faces, temperature: float, *, cache: Path) -> dict[str, NDArray[np.float32]]:
    """Softened answers of the ensemble per head, shape (n, 7): the mean over teachers, images and mirror images.

    What is in ``cache`` is used as it is: ``fit`` makes sure that a run folder keeps its teachers and data.

    ``runs`` are folders of finished runs, released weights, or .tflite files that ``quantization`` made.

    Raises InputError where a run has no finished model, or a file is not full int8 or another kind of network.
    """
    kept = cache / "teacher.npz"
    if kept.is_file():
        with np.load(kept) as arrays:
            return {head: arrays[head] for head in HEADS}
    total = {head: np.zeros((len(faces), faces.votes.shape[1]), np.float32) for head in HEADS}
    for run in runs:
        log.info("asking the teacher %s", run)
        teacher = _teacher(run, faces.images)
        images = faces.images[..., None].astype(np.float32)
        for view in (images, images[:, :, ::-1]):
            logits = teacher.predict(view, batch_size=256, verbose=0)
            for head in HEADS:
                total[head] += (softmax(logits[head] / temperature) / (2 * len(runs))).astype(np.float32)
    buffer = io.BytesIO()
    content: dict[str, Any] = dict(total)  # some versions of numpy have keywords of another type among these
    np.savez(buffer, **content)
    write_atomically(kept, buffer.getvalue())
    return total


def _teacher(run: Path, images: NDArray[np.uint8]) -> keras.Model:
    if run.suffix == ".tflite":
        return twin_of(run, images)
    if run.suffix == ".npz":
        return read_weights(run)[0]
    path = run / "model.keras"
    if not path.is_file():
        raise InputError(f"{path}: no model; finish this teacher's run first")
    return keras.saving.load_model(path, compile=False)
