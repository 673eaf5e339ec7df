"""``onnx``: a run's float model as an ONNX file, for programs that read neither Keras nor TFLite."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from quantization.convert import trained
from training.data import EMOTIONS, SIDE

log = logging.getLogger(__name__)

ONNX = "model.onnx"


def export_onnx(run: Path) -> Path:
    """Write ``model.onnx`` into the run folder; returns it.

    It takes grey images (n, 48, 48, 1), float32, 0 to 255, as ``images``, and answers with the logits (n, 7) of each
    head, not calibrated. Raises InputError where the run has no model yet.
    """
    import onnx
    import tf2onnx  # noqa: F401  Keras imports it, and would say less clearly that it is missing

    model, _ = trained(run)
    model(np.zeros((1, SIDE, SIDE, 1), np.float32))  # Keras exports only what was called
    path, unfinished = run / ONNX, run / "new.onnx"
    model.export(str(unfinished), format="onnx", verbose=False)
    described = onnx.load(unfinished)
    onnx.helper.set_model_props(described, {"labels": json.dumps(EMOTIONS)})
    onnx.save(described, unfinished)
    unfinished.replace(path)
    log.info("%s: %d bytes", path, path.stat().st_size)
    return path
