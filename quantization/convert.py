"""``convert``: a trained Keras model to a full-int8 .tflite file, and a float one to compare it with."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import InputError
from edge_agent.host.runtime import open_interpreter
from training.data import SPLIT_SEED, Faces
from training.files import write_atomically
from training.recipe import Backbone, Network, load_recipe

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

PER_CLASS = 80
"""Images of each emotion in the representative set: 560 in all; more changed nothing."""
INT8, FLOAT, FACTS, WEIGHTS = "int8.tflite", "float.tflite", "convert.json", "weights.npz"


def convert(run: Path, training: Faces) -> Path:
    """Write ``int8.tflite``, ``float.tflite``, ``weights.npz`` and ``convert.json`` into the run folder.

    Returns the int8 file.

    Raises InputError where the run has no model yet.
    """
    import tensorflow as tf

    from training.released import write_weights

    model, network = trained(run)
    with TemporaryDirectory() as saved:
        export_saved(model, saved)
        write_atomically(run / FLOAT, _converter(saved).convert())
    chosen = representative(training)
    content = quantized(model, network, training.images[chosen])
    write_weights(run / WEIGHTS, model, network)
    write_atomically(run / INT8, content)
    facts = {
        "outputs": output_numbers(content),
        "representative_images": len(chosen),
        "seed": SPLIT_SEED,
        "tensorflow": tf.__version__,
    }
    write_atomically(run / FACTS, json.dumps(facts, indent=1).encode())
    log.info("%s: %d bytes", run / INT8, len(content))
    return run / INT8


def trained(run: Path) -> tuple[keras.Model, Network | Backbone]:
    """The run's float model, its weights rounded to float16, and its network; InputError where there is none yet."""
    path = run / "model.keras"
    if not path.is_file():
        raise InputError(f"{path}: no model; run: python -m training fit")
    import keras

    from training.released import round_weights

    model = keras.saving.load_model(path, compile=False)
    round_weights(model)
    return model, load_recipe(run / "config.yaml").network


def export_saved(model: keras.Model, folder: str) -> None:
    """Write a model, folded, in TensorFlow's own format; a batch is one image, a size that never changes."""
    import keras

    from quantization.folding import fold_pooling, fold_scaling

    folded = fold_pooling(fold_scaling(model))
    signature = [keras.InputSpec(shape=(1, *folded.input_shape[1:]), dtype="float32")]
    folded.export(folder, format="tf_saved_model", input_signature=signature, verbose=False)


def quantized(
    model: keras.Model, network: Network | Backbone, images: NDArray[np.uint8], *, verify: bool = False
) -> bytes:
    """The model's full-int8 file, ranges set by the images (n, side, side).

    With ``verify`` it also computes every layer in float, for TensorFlow's QuantizationDebugger.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    from training.model import RELU6, build

    unlimited = build(network.unlimited())
    unlimited.set_weights(model.get_weights())
    with TemporaryDirectory() as saved:
        export_saved(unlimited, saved)
        converter = _converter(saved)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: as_inputs(images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter._experimental_calibrate_only = True
        calibrated = converter.convert()
    content: bytes = mlir_quantize(
        narrow(calibrated, network.limit or RELU6),
        fully_quantize=not verify,
        input_data_type=tf.float32 if verify else tf.int8,
        output_data_type=tf.float32 if verify else tf.int8,
        enable_numeric_verify=verify,
        disable_per_channel_for_dense_layers=True,
    )
    return content


def narrow(calibrated: bytes, limit: float) -> bytes:
    """A calibrated model with no range of ReLU6 beyond limit, and none of a residual branch beyond +-limit.

    int8 cuts at its range anyway, at no cost, and a narrower range has finer steps. Runtimes differ by one step, so
    finer steps make them differ less. Branches reach +-16; with a limit of 6, the runtimes give another top label in 15
    images of PublicTest instead of 26. ReLU6(x + y) with x in [0, 6] is the same for y and for y cut to +-6. Where a
    block changes the width, both branches are cut, and a few sums do change (accuracy of `emotion` moved by less than
    0.1 points). A model with a limit below 6 is trained with it.
    """
    from tensorflow.lite.python.schema_py_generated import ActivationFunctionType, BuiltinOptions
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(calibrated))
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if operator.builtinOptionsType not in (BuiltinOptions.AddOptions, BuiltinOptions.Conv2DOptions):
            continue
        if operator.builtinOptions.fusedActivationFunction == ActivationFunctionType.RELU6:
            cut = list(operator.outputs)
            if operator.builtinOptionsType == BuiltinOptions.AddOptions:
                cut += list(operator.inputs)
            for span in (graph.tensors[tensor].quantization for tensor in cut):
                span.min, span.max = [max(float(span.min[0]), -limit)], [min(float(span.max[0]), limit)]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def representative(training: Faces, seed: int = SPLIT_SEED) -> NDArray[np.int64]:
    """Rows of Training that set the ranges: the same number of every emotion, as far as there are any."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(training.labels == label))[:PER_CLASS] for label in range(7)]
    return np.sort(np.concatenate(rows))


def _converter(saved: str) -> Any:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    # Per-channel dense layers need FULLY_CONNECTED version 12, which the last tflite-runtime does not know.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return converter


def as_inputs(images: NDArray[np.uint8]) -> Iterator[list[NDArray[np.float32]]]:
    """Images (n, side, side) one by one, as the model takes them."""
    for image in images:
        yield [image[None, :, :, None].astype(np.float32)]


def output_numbers(content: bytes) -> dict[str, int]:
    """Which output tensor belongs to which head: the converter chooses the order, and the file's signature has it."""
    _, interpreter = open_interpreter(content)
    by_tensor = {output["index"]: number for number, output in enumerate(interpreter.get_output_details())}
    named = interpreter.get_signature_runner().get_output_details()
    return {head: by_tensor[output["index"]] for head, output in named.items()}
