"""Batches for Keras: augmented images, and what each head should answer.

Everything random is drawn from the seed, the epoch and the batch's number, so a run that was killed and resumed
sees the same images as one that was not.
"""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from training.augment import augment, mix
from training.data import EMOTIONS, HEADS, Faces
from training.recipe import Recipe

Batch = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]


def targets(faces: Faces, smoothing: float) -> dict[str, NDArray[np.float32]]:
    """What each head should answer, shape (n, 7) each: the smoothed label, and the share of votes per emotion."""
    label = np.eye(len(EMOTIONS), dtype=np.float32)[faces.labels]
    votes = faces.votes.sum(1, keepdims=True)
    return {
        "fer2013": label * np.float32(1 - smoothing) + np.float32(smoothing / len(EMOTIONS)),
        # Votes are smooth already; an image without votes has weight 0.
        "ferplus": faces.votes / np.maximum(votes, 1),
    }


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """One epoch after the other of (images, targets of the heads, weights of the heads).

    Targets are (n, 7), or (n, 14) if ``teacher`` gives soft answers per head, which are put next to them.
    """

    def __init__(
        self,
        faces: Faces,
        recipe: Recipe,
        teacher: dict[str, NDArray[np.float32]] | None = None,
        *,
        first_epoch: int = 0,
    ) -> None:
        super().__init__()
        self._images = faces.images
        self._recipe = recipe
        own = targets(faces, recipe.label_smoothing)
        parts = [own] if teacher is None else [own, teacher]
        self._targets = np.stack([np.concatenate([p[head] for p in parts], axis=1) for head in HEADS], axis=1)
        self._weights = np.stack([np.ones(len(faces)), faces.votes.sum(1) > 0], axis=1).astype(np.float32)
        self._begin(first_epoch)

    def __len__(self) -> int:
        return len(self._images) // self._recipe.batch_size

    def __getitem__(self, index: int) -> Batch:
        size = self._recipe.batch_size
        rows = self._order[index * size : (index + 1) * size]
        rng = np.random.default_rng((self._recipe.seed, self._epoch, 1 + index))
        images = augment(self._images[rows], self._recipe.augmentation, rng)
        wanted = self._targets[rows]  # (batch, heads, 7 or 14)
        if self._recipe.mixup_alpha and self._epoch < self._recipe.epochs * (1 - self._recipe.mixup_off):
            images, wanted = mix(images, wanted, self._recipe.mixup_alpha, rng=rng)
        return (
            images[..., None],
            {head: wanted[:, i] for i, head in enumerate(HEADS)},
            {head: self._weights[rows, i] for i, head in enumerate(HEADS)},
        )

    def on_epoch_end(self) -> None:
        """Keras calls it after each epoch."""
        self._begin(self._epoch + 1)

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        self._order = np.random.default_rng((self._recipe.seed, epoch, 0)).permutation(len(self._images))
