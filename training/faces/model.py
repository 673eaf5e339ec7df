"""The network: plain 3x3 convolutions and ReLU6, which int8 runtimes compute fastest and round least."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers

from training.faces.recipe import Network

STRIDES = (8, 16, 32)
"""Pixels between neighbouring cells of the three grids."""
POINTS = 5
OUTPUTS = {"score": 1, "box": 4, "points": 2 * POINTS}
"""Channels of a cell: logit; middle and log size; landmarks. All lengths in strides, places from the cell's middle."""
RELU6 = 6.0
_RARE = -4.0
"""First logit of every cell: faces are rare, and a start at 0 spends the first epochs on learning that."""


def build(network: Network, height: int | None = None, width: int | None = None) -> keras.Model:
    """Grey images (n, height, width, 1), 0 to 255, sides multiples of 32, to one map of each output and stride.

    The outputs are called ``score8`` ... ``points32``; their shape is (n, height / stride, width / stride, channels).
    """
    images = keras.Input((height, width, 1), name="images", dtype="float32")
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    stem, fine, middle, coarse = network.widths
    x = _convolution(x, stem, stride=4, side=network.stem_side)
    p8 = _block(_convolution(x, fine, stride=2), network.blocks[0])
    p16 = _block(_convolution(p8, middle, stride=2), network.blocks[1])
    p32 = _block(_convolution(p16, coarse, stride=2), network.blocks[2])
    # What the coarse grids know of the surroundings goes down to the fine ones, where faces are a few pixels.
    p16 = _with(p16, p32)
    p8 = _convolution(_with(p8, p16), fine)
    heads = {}
    for stride, features in zip(STRIDES, (p8, p16, p32), strict=True):
        for name, channels in OUTPUTS.items():
            start = _RARE if name == "score" else 0.0
            heads[f"{name}{stride}"] = layers.Conv2D(
                channels,
                1,
                bias_initializer=keras.initializers.Constant(start),
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                name=f"{name}{stride}",
                dtype="float32",
            )(features)
    return keras.Model(images, heads)


def multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of the convolutions for one image of the model's own size."""
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    return sum(math.prod(c.kernel.shape) * c.output.shape[1] * c.output.shape[2] for c in convolutions)


def _convolution(x: keras.KerasTensor, width: int, *, stride: int = 1, side: int = 3) -> keras.KerasTensor:
    return layers.ReLU(RELU6)(_normalised(x, width, stride=stride, side=side))


def _normalised(x: keras.KerasTensor, width: int, *, stride: int = 1, side: int = 3) -> keras.KerasTensor:
    convolution = layers.Conv2D(
        width, side, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal"
    )
    return layers.BatchNormalization(momentum=0.97)(convolution(x))


def _block(x: keras.KerasTensor, convolutions: int) -> keras.KerasTensor:
    """A residual block of so many convolutions; 0 is none."""
    if not convolutions:
        return x
    y = x
    for _ in range(convolutions - 1):
        y = _convolution(y, x.shape[-1])
    return layers.ReLU(RELU6)(layers.Add()([x, _normalised(y, x.shape[-1])]))


def _with(fine: keras.KerasTensor, coarse: keras.KerasTensor) -> keras.KerasTensor:
    """The fine map plus the coarse one at twice its size. Depth to space needs no size in the graph, as resizing does:
    so one file serves pictures of several sizes."""
    width = fine.shape[-1]
    wide = _normalised(coarse, 4 * width, side=1)
    return layers.ReLU(RELU6)(layers.Add()([fine, DepthToSpace()(wide)]))


@keras.saving.register_keras_serializable(package="countenance")
class DepthToSpace(layers.Layer):  # type: ignore[misc]
    """(n, height, width, 4 c) to (n, 2 height, 2 width, c)."""

    def call(self, x: Any) -> Any:
        """See the class."""
        import tensorflow as tf

        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """See the class."""
        n, height, width, channels = shape
        return n, height and 2 * height, width and 2 * width, channels and channels // 4
