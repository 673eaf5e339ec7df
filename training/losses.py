"""Loss of a head: cross-entropy against soft targets, and against teachers where there are any."""

from __future__ import annotations

from collections.abc import Callable

import keras

from training.data import EMOTIONS
from training.recipe import Distillation

Loss = Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]


def soft_cross_entropy(wanted: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """Cross-entropy per image; ``wanted`` (n, 7) sums to 1, ``logits`` (n, 7)."""
    return keras.ops.categorical_crossentropy(wanted, logits, from_logits=True)


def distilled(how: Distillation) -> Loss:
    """Hinton et al. 2015: (1 - w) CE + w T^2 CE at temperature T, for targets (n, 14): own, then the teachers'."""
    n = len(EMOTIONS)

    def loss(wanted: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
        own = soft_cross_entropy(wanted[:, :n], logits)
        taught = soft_cross_entropy(wanted[:, n:], logits / how.temperature)
        return (1 - how.weight) * own + how.weight * how.temperature**2 * taught

    return loss
