"""The network: one trunk, two heads. The trunk is of residual 3x3 convolutions, or a known network (a backbone)."""

from __future__ import annotations

import math

import keras
from keras import layers

from training import backbones
from training.data import EMOTIONS, HEADS, SIDE
from training.recipe import Backbone, Network

RELU6 = 6.0


def build(network: Network | Backbone, precision: str = "float32") -> keras.Model:
    """Grey images (n, 48, 48, 1), 0 to 255, to logits (n, 7) of each head, both float32. The weights are random.

    In ours ReLU6 bounds activations and there is no swish and no squeeze-and-excite: those break post-training int8.
    ``precision`` is that of the layers in between; their weights are float32 in any case.
    """
    outside = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return _build(network)
    finally:
        keras.config.set_dtype_policy(outside)


def _build(network: Network | Backbone) -> keras.Model:
    images = keras.Input((SIDE, SIDE, 1), name="images", dtype="float32")
    x = backbones.grow(images, network) if isinstance(network, Backbone) else _plain(images, network)
    x = layers.GlobalAveragePooling2D()(x)  # (n, channels)
    x = layers.Dropout(network.dropout)(x)
    heads = {head: layers.Dense(len(EMOTIONS), name=head, dtype="float32")(x) for head in HEADS}
    model = keras.Model(images, heads)
    for layer in model.layers if isinstance(network, Backbone) and network.frozen else ():
        layer.trainable = layer.name in HEADS
    return model


def _plain(images: keras.KerasTensor, network: Network) -> keras.KerasTensor:
    # In the graph, so that no caller can get it wrong.
    x = layers.Rescaling(1 / 127.5, offset=-1, dtype="float32")(images)
    x = _convolution(x, network.widths[0], 3, stride=network.stem_stride)
    x = layers.ReLU(network.limit or RELU6)(x)
    for stage, (width, blocks) in enumerate(zip(network.widths, network.blocks, strict=True)):
        for block in range(blocks):
            x = _residual(x, width, 2 if stage and not block else 1, limit=network.limit)
    return x


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of the convolutions and dense layers for one image."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D):
            total += math.prod(layer.kernel.shape) * layer.output.shape[1] * layer.output.shape[2]
        elif isinstance(layer, layers.Dense):
            total += math.prod(layer.kernel.shape)  # a plain tuple under JAX
    return total


def _residual(x: keras.KerasTensor, width: int, stride: int, *, limit: float | None) -> keras.KerasTensor:
    """The basic block of He et al. 2015 (the last scale starts at 1: 0 learns slower in runs this short)."""
    y = layers.ReLU(limit or RELU6)(_convolution(x, width, 3, stride=stride))
    y = _limited(_convolution(y, width, 3, stride=1), limit)
    if stride != 1 or x.shape[-1] != width:
        x = _limited(_convolution(x, width, 1, stride=stride), limit)
    return layers.ReLU(limit or RELU6)(layers.Add()([x, y]))


def _limited(x: keras.KerasTensor, limit: float | None) -> keras.KerasTensor:
    return x if limit is None else keras.ops.clip(x, -limit, limit)


def _convolution(x: keras.KerasTensor, width: int, side: int, *, stride: int) -> keras.KerasTensor:
    convolution = layers.Conv2D(
        width, side, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal"
    )
    return layers.BatchNormalization()(convolution(x))
