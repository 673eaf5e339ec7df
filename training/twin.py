"""The float twin of a full-int8 .tflite file: the same answers, in the network that a recipe describes.

``quantization convert`` folds batch norms and the scaling of grey levels into the convolutions and rounds them to int8.
Undone, this is a network that training can go on with, up to that rounding. So a shipped model can be the start of a
run whose own float weights nobody kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from edge_agent.errors import InputError
from training.model import RELU6, build
from training.recipe import Backbone, Network

_MEASURED = 2048
_BATCH = 256
_KERNEL_LENGTH = 1.0
"""Of each output channel: with a batch norm behind it, a kernel's length only sets how fast it turns while learning."""
_GREY = 127.5

_STRANGER = "is no network that `quantization convert` made"

_Convolution = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Kernel (height, width, in, out) and bias (out,)."""


def twin_of(path: Path, images: NDArray[np.uint8], network: Network | Backbone | None = None) -> keras.Model:
    """A model of ``network``, or of the one that is in the file, that answers like the int8 file but for the rounding.

    Its batch norms have the means and variances that ``images`` (n, side, side) give, so training can go on at once.

    Raises InputError where the file cannot be read, is not full int8, or is another network.
    """
    if isinstance(network, Backbone):
        raise InputError(f"{path}: a network with a backbone cannot begin with a .tflite file; name its run folder")
    graph = _Graph(path)
    trunk, heads = graph.convolutions()
    model = build(network or graph.network())
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    shapes = [tuple(layer.kernel.shape) for layer in convolutions]
    if [kernel.shape for kernel, _ in trunk] != shapes or set(heads) != set(model.output):
        raise InputError(f"{path}: is another network than the recipe's")
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    outputs = keras.Model(model.input, [layer.output for layer in convolutions])
    trunk[0] = _with_scaling(*trunk[0])
    for convolution, norm, (kernel, bias) in zip(convolutions, norms, trunk, strict=True):
        length = np.maximum(np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0), 1e-6) / _KERNEL_LENGTH
        convolution.kernel.assign(kernel / length)
        # Without statistics yet: gamma * (x - 0) / sqrt(1) + beta, epsilon included.
        norm.set_weights([length * np.sqrt(1 + norm.epsilon), bias, np.zeros_like(bias), np.ones_like(bias)])
    for head, (kernel, bias) in heads.items():
        model.get_layer(head).set_weights([kernel.sum(axis=(0, 1)), bias])
    _measure(outputs, norms, images)
    return model


def network_of(path: Path) -> Network:
    """The network that is in a full-int8 .tflite file, as a recipe describes it; raises InputError as ``twin_of``."""
    return _Graph(path).network()


def _with_scaling(kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> _Convolution:
    """Of "grey - 128" at the entry to "grey / 127.5 - 1": half a grey level goes into the bias."""
    return kernel * _GREY, bias - 0.5 * kernel.sum(axis=(0, 1, 2))


def _measure(outputs: keras.Model, norms: list[layers.BatchNormalization], images: NDArray[np.uint8]) -> None:
    """Give every batch norm the statistics of its input, and such scale and shift that no answer changes."""
    picked = images[np.linspace(0, len(images) - 1, min(len(images), _MEASURED)).astype(int)]
    sums, squares = [0.0] * len(norms), [0.0] * len(norms)
    for start in range(0, len(picked), _BATCH):
        batch = picked[start : start + _BATCH, :, :, None].astype(np.float32)
        for i, values in enumerate(outputs(batch, training=False)):
            flat = keras.ops.convert_to_numpy(values).astype(np.float64)
            sums[i] += flat.mean(axis=(1, 2)).sum(axis=0) / len(picked)
            squares[i] += (flat**2).mean(axis=(1, 2)).sum(axis=0) / len(picked)
    for norm, mean, square in zip(norms, sums, squares, strict=True):
        gamma, beta, _, _ = norm.get_weights()
        variance = np.maximum(square - mean**2, 1e-6)
        slope = gamma / np.sqrt(1 + norm.epsilon)
        norm.set_weights([slope * np.sqrt(variance + norm.epsilon), beta + slope * mean, mean, variance])


class _Graph:
    """The convolutions of a .tflite file that ``quantization convert`` made."""

    def __init__(self, path: Path) -> None:
        from tensorflow.lite.python import schema_py_generated as schema
        from tensorflow.lite.tools import flatbuffer_utils

        self._path = path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot read the model: {error.strerror}") from error
        if content[4:8] != b"TFL3":
            raise InputError(f"{path}: is no .tflite file")
        model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
        graph = model.subgraphs[0]
        self._tensors, self._buffers = graph.tensors, model.buffers
        codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
        self._operators = [(codes[operator.opcodeIndex], operator) for operator in graph.operators]
        self._ops = schema.BuiltinOperator
        self._types = schema.TensorType
        self._names = {m.tensorIndex: m.name.decode() for d in model.signatureDefs or () for m in d.outputs}

    def network(self) -> Network:
        """As a recipe describes it."""
        widths: list[int] = []
        blocks: list[int] = []
        stem, x = self._stem()
        while not self._leads_to_heads(x):
            first, shortcut, x = self._block(x)
            if shortcut or not widths:
                widths.append(int(self._tensors[first.inputs[1]].shape[0]))
                blocks.append(0)
            blocks[-1] += 1
        highest = round(255 * float(self._tensors[stem.outputs[0]].quantization.scale[0]), 3)
        stride = int(stem.builtinOptions.strideW)
        limit = None if highest == RELU6 else highest
        return Network(widths=tuple(widths), blocks=tuple(blocks), stem_stride=stride, limit=limit)

    def convolutions(self) -> tuple[list[_Convolution], dict[str, _Convolution]]:
        """Of the trunk, in the order of the layers that ``build`` makes, and of the heads by name."""
        trunk, heads = [], {}
        stem, x = self._stem()
        trunk.append(self._weights(stem))
        while not self._leads_to_heads(x):
            first, shortcut, total = self._block(x)
            (second,) = self._readers(first.outputs[0])
            trunk += [self._weights(operator) for operator in (first, *shortcut, second)]
            x = total
        for operator in self._readers(x):
            (reshape,) = self._readers(operator.outputs[0])
            heads[self._names[reshape.outputs[0]]] = self._weights(operator)
        return trunk, heads

    def _stem(self) -> tuple[Any, int]:
        """The first convolution and what it gives."""
        entries = [operator for code, operator in self._operators if code == self._ops.ADD][:1]
        readers = self._readers(entries[0].outputs[0]) if entries else []
        if len(readers) != 1 or len(readers[0].inputs) != 3:
            raise InputError(f"{self._path}: {_STRANGER}")
        return readers[0], readers[0].outputs[0]

    def _block(self, x: int) -> tuple[Any, list[Any], int]:
        """First 3x3 convolution, the 1x1 one beside it (if any) and the sum's tensor of the block that reads ``x``."""
        readers = [operator for operator in self._readers(x) if len(operator.inputs) == 3]
        sizes = {operator.inputs[1]: self._tensors[operator.inputs[1]].shape[1] for operator in readers}
        first = next((operator for operator in readers if sizes[operator.inputs[1]] == 3), None)
        if first is None:
            raise InputError(f"{self._path}: {_STRANGER}")
        shortcut = [operator for operator in readers if sizes[operator.inputs[1]] == 1]
        (second,) = self._readers(first.outputs[0])
        (total,) = self._readers(second.outputs[0])
        return first, shortcut, total.outputs[0]

    def _leads_to_heads(self, x: int) -> bool:
        after = [reader for operator in self._readers(x) for reader in self._readers(operator.outputs[0])]
        reshapes = [code for code, operator in self._operators if operator in after and code == self._ops.RESHAPE]
        return bool(after) and len(reshapes) == len(after)

    def _readers(self, tensor: int) -> list[Any]:
        return [operator for _, operator in self._operators if tensor in list(operator.inputs)]

    def _weights(self, operator: Any) -> _Convolution:
        """Kernel and bias in float, the kernel as Keras orders it."""
        kernel, bias = (self._constant(tensor) for tensor in operator.inputs[1:3])
        return kernel.transpose(1, 2, 3, 0), bias

    def _constant(self, number: int) -> NDArray[np.float32]:
        tensor = self._tensors[number]
        kinds = {self._types.INT8: np.int8, self._types.INT32: np.int32}
        if tensor.type not in kinds or tensor.quantization is None or tensor.quantization.scale is None:
            raise InputError(f"{self._path}: is not full int8")
        steps = np.frombuffer(bytes(self._buffers[tensor.buffer].data), kinds[tensor.type]).reshape(tensor.shape)
        scale = np.asarray(tensor.quantization.scale, np.float32)
        # Per channel along the first axis, or one scale for all.
        return steps.astype(np.float32) * scale.reshape((-1,) + (1,) * (steps.ndim - 1))
