"""EfficientNet-Lite (Liu 2020): EfficientNet with ReLU6 and without squeeze-and-excite, so that int8 costs little."""

from __future__ import annotations

import math

import keras
from keras import layers

_BLOCKS = (
    # repeats, kernel, stride, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _LAST = 32, 1280


def grow(x: keras.KerasTensor, width: float = 1.0, depth: float = 1.0) -> keras.KerasTensor:
    """Images (n, side, side, channels), of (grey level - 127) / 128, to the last map (n, side / 32, side / 32, 1280).

    ``width`` and ``depth`` scale channels and repeats: 1.0, 1.0 of Lite0; 1.0, 1.1 of Lite1; 1.1, 1.2 of Lite2.
    """
    x = _activated(layers.Conv2D(_STEM, 3, strides=2, padding="same", use_bias=False)(x))
    for number, (repeats, kernel, stride, expansion, channels) in enumerate(_BLOCKS):
        fixed = number in (0, len(_BLOCKS) - 1)  # the first and the last stage keep their depth in all sizes
        for repeat in range(repeats if fixed else math.ceil(repeats * depth)):
            x = _block(
                x, _rounded(channels * width), kernel=kernel, stride=1 if repeat else stride, expansion=expansion
            )
    return _activated(layers.Conv2D(_LAST, 1, use_bias=False)(x))


def _block(x: keras.KerasTensor, channels: int, *, kernel: int, stride: int, expansion: int) -> keras.KerasTensor:
    """MobileNetV2's inverted bottleneck."""
    y = x
    if expansion != 1:
        y = _activated(layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False)(y))
    y = _activated(layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False)(y))
    y = _normalised(layers.Conv2D(channels, 1, use_bias=False)(y))
    return layers.Add()([y, x]) if stride == 1 and x.shape[-1] == channels else y


def _activated(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU(6.0)(_normalised(x))


def _normalised(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=1e-3)(x)


def _rounded(channels: float) -> int:
    """To a multiple of 8, by a tenth less at most."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
