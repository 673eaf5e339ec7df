"""Weights that are a mean of others, with batch-norm statistics that belong to them.

``averaged`` is of one run's steps (EMA). ``average`` is of two models, of which one began with the other's weights:
what lies between them often keeps the first one's accuracy on what it knew, and most of what the second one learnt
(Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
from numpy.typing import NDArray

from training.augment import augment
from training.recipe import Augmentation

_BATCH, _BATCHES = 256, 12


def seen_in_training(images: NDArray[np.uint8], how: Augmentation) -> NDArray[np.float32]:
    """Evenly picked images (n, side, side) as training sees them, always the same: to measure batch norms on."""
    picked = images[np.linspace(0, len(images) - 1, min(len(images), _BATCH * _BATCHES)).astype(int)]
    return augment(picked, how, np.random.default_rng(0))


@contextmanager
def averaged(model: keras.Model, images: NDArray[np.float32]) -> Iterator[None]:
    """Within this block the model has its averaged weights. After it, it has those of the training again.

    ``images`` are what :func:`seen_in_training` gives.
    """
    weights = model.get_weights()
    model.optimizer.finalize_variable_values(model.trainable_variables)
    refresh_statistics(model, images)
    try:
        yield
    finally:
        model.set_weights(weights)


def average(first: keras.Model, second: keras.Model, share: float, *, images: NDArray[np.float32]) -> keras.Model:
    """``share`` of the second model's weights and the rest of the first one's; batch norms measured on ``images``.

    Both are the same network. The result is the second model, changed.
    """
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    second.set_weights([(1 - share) * one + share * other for one, other in pairs])
    refresh_statistics(second, images)
    return second


def refresh_statistics(model: keras.Model, images: NDArray[np.float32]) -> None:
    """Measure the means and variances of all batch norms again, on images (n, side, side).

    Averaged weights give other activations than those that the moving statistics followed (Izmailov et al. 2018,
    section 3.2). Without this, an average over the steep part of training is useless.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in layers]
    for number, start in enumerate(range(0, len(images), _BATCH)):
        for layer in layers:
            layer.momentum = number / (number + 1)  # makes the moving average the plain mean over the batches
        model(images[start : start + _BATCH, :, :, None], training=True)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
