"""What int8 would round needlessly, folded into the convolutions before the conversion.

Runtimes and processors do not round everything the same way. After folding there are only convolutions, additions and
one exact subtraction. ai-edge-litert computes these equally on x86-64 and ARM, except for a rare step of 1/256.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers


def fold_scaling(model: keras.Model) -> keras.Model:
    """The same network with whole grey levels going into its first convolution: "minus 128" is exact in int8.

    conv(s x + o) with zero padding is conv'(x - g) with kernel s k, plus the constant (s g + o) sum(k). The constant
    goes into its bias, or into the batch norm that follows. g is -o / s, rounded to a whole grey level. So along the
    border the answers change by what half a grey level makes, at most.
    """
    config = model.get_config()
    scaling = next(layer["config"] for layer in config["layers"] if layer["class_name"] == "Rescaling")
    scale, offset = scaling["scale"], scaling["offset"]
    grey = float(int(-offset / scale + 0.5))
    scaling.update(scale=1.0, offset=-grey)
    folded = keras.Model.from_config(config)
    folded.set_weights(model.get_weights())
    convolution = next(layer for layer in folded.layers if isinstance(layer, layers.Conv2D))
    kernel = keras.ops.convert_to_numpy(convolution.kernel)
    constant = (scale * grey + offset) * kernel.sum(axis=(0, 1, 2))
    convolution.kernel.assign(scale * kernel)
    if convolution.bias is not None:
        convolution.bias.assign_add(constant)
    else:
        norm = next(layer for layer in folded.layers if isinstance(layer, layers.BatchNormalization))
        norm.moving_mean.assign(keras.ops.convert_to_numpy(norm.moving_mean) - constant)
    return folded


def fold_pooling(model: keras.Model) -> keras.Model:
    """The same network; each head is one convolution over the whole last map, instead of pooling and a dense layer.

    mean(x) W + b = conv(x) with the kernel W / side^2 at each of the side^2 places. The sums stay exact up to the
    logits. A separate mean would be rounded, and litert on ARM rounds 8 % of its bytes differently from x86-64.
    """
    last = next(layer for layer in model.layers if isinstance(layer, layers.GlobalAveragePooling2D)).input
    side = last.shape[1]
    heads = {}
    for head in model.output:
        kernel, bias = model.get_layer(head).get_weights()
        convolution = layers.Conv2D(kernel.shape[1], side, name=f"{head}_everywhere")
        heads[head] = layers.Flatten(name=head)(convolution(last))
        convolution.set_weights([np.tile(kernel / side**2, (side, side, 1, 1)), bias])
    return keras.Model(model.input, heads)
