"""``convert``: a trained detector to one full-int8 .tflite file that takes pictures of several sizes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
from numpy.typing import NDArray

from quantization.convert import FACTS, INT8, WEIGHTS, output_numbers
from quantization.folding import fold_scaling
from training.faces.batches import make_batch
from training.faces.data import read_scenes
from training.faces.recipe import load_recipe
from training.faces.released import read_detector
from training.faces.train import PADDED
from training.files import write_atomically
from training.released import round_weights, write_weights

log = logging.getLogger(__name__)

REPRESENTATIVE = 256
"""Training pictures that set the ranges."""
SURE_LOGIT = -1.0
"""Cells that say at least this much are what boxes and landmarks are read from; the others' may be cut."""
_SCORE_LOGITS = (-7.0, 5.0)


def convert(run: Path, archive: Path) -> Path:
    """Write ``int8.tflite``, ``weights.npz`` and ``convert.json`` into the run folder; returns the file.

    Raises InputError where the run has no model yet, or the scenes are missing.
    """
    import tensorflow as tf

    recipe = load_recipe(run / "config.yaml")
    rng = np.random.default_rng(recipe.seed)
    scenes = read_scenes(archive, "train")
    batches = -(-REPRESENTATIVE // recipe.batch_size)
    pictures = np.concatenate([make_batch(scenes, recipe, rng)[0] for _ in range(batches)])[:REPRESENTATIVE]
    model = read_detector(run / "model.keras")
    round_weights(model)
    content, names = quantized(model, pictures)
    write_weights(run / WEIGHTS, model, recipe.network)
    write_atomically(run / INT8, content)
    facts = {"outputs": names, "representative_pictures": len(pictures), "tensorflow": tf.__version__}
    write_atomically(run / FACTS, json.dumps(facts, indent=1).encode())
    log.info("%s: %d bytes", run / INT8, len(content))
    return run / INT8


def quantized(model: keras.Model, pictures: NDArray[np.uint8]) -> tuple[bytes, dict[str, int]]:
    """The model as full int8, and which output tensor carries which map.

    ``pictures`` (n, side, side, 1) set the ranges. What cells without a face say of boxes and landmarks is cut: their
    wild values would make the steps of the others coarse.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    with TemporaryDirectory() as saved:
        folded = fold_scaling(model)
        signature = [keras.InputSpec(shape=(1, *PADDED, 1), dtype="float32")]
        folded.export(saved, format="tf_saved_model", input_signature=signature, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _inputs(pictures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter._experimental_calibrate_only = True
        calibrated = converter.convert()
    narrowed = _narrow_outputs(calibrated, _spans(model, pictures))
    content: bytes = mlir_quantize(narrowed, input_data_type=tf.int8, output_data_type=tf.int8, fully_quantize=True)
    return content, output_numbers(content)


def _inputs(pictures: NDArray[np.uint8]) -> Iterator[list[NDArray[np.float32]]]:
    """Pictures as the network takes them; a smaller one lies on black, as on the device."""
    for picture in pictures:
        padded = np.zeros((1, *PADDED, 1), np.float32)
        padded[0, : picture.shape[0], : picture.shape[1]] = picture[: PADDED[0], : PADDED[1]]
        yield [padded]


def _spans(model: keras.Model, pictures: NDArray[np.uint8]) -> dict[str, tuple[float, float]]:
    """Least and largest value of each output that matters."""
    maps = model.predict(pictures.astype(np.float32), batch_size=32, verbose=0)
    spans = {}
    for name, values in maps.items():
        if name.startswith("score"):
            spans[name] = _SCORE_LOGITS
            continue
        stride = name.lstrip("boxpints")
        sure = values[maps[f"score{stride}"][..., 0] > SURE_LOGIT]
        spans[name] = (float(sure.min()), float(sure.max())) if len(sure) else (-1.0, 1.0)
    return spans


def _narrow_outputs(calibrated: bytes, spans: dict[str, tuple[float, float]]) -> bytes:
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(calibrated))
    tensors = model.subgraphs[0].tensors
    for entry in model.signatureDefs[0].outputs:
        span = tensors[entry.tensorIndex].quantization
        span.min, span.max = ([bound] for bound in spans[entry.name.decode()])
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))
