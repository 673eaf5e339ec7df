"""The averaged weights (EMA) of a model in training, with batch-norm statistics that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from numpy.typing import NDArray

_BATCH, _BATCHES = 256, 12


@contextmanager
def averaged(model: keras.Model, images: NDArray[np.uint8]) -> Iterator[None]:
    """Within this block the model has its averaged weights. After it, it has those of the training again."""
    weights = model.get_weights()
    model.optimizer.finalize_variable_values(model.trainable_variables)
    refresh_statistics(model, images)
    try:
        yield
    finally:
        model.set_weights(weights)


def refresh_statistics(model: keras.Model, images: NDArray[np.uint8]) -> None:
    """Measure the means and variances of all batch norms again, on evenly picked images (n, side, side).

    Averaged weights give other activations than those that the moving statistics followed (Izmailov et al. 2018,
    section 3.2). Without this, an average over the steep part of training is useless.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    picked = images[np.linspace(0, len(images) - 1, min(len(images), _BATCH * _BATCHES)).astype(int)]
    for number, start in enumerate(range(0, len(picked), _BATCH)):
        for layer in layers:
            layer.momentum = number / (number + 1)  # makes the moving average the plain mean over the batches
        model(picked[start : start + _BATCH, :, :, None].astype(np.float32), training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
