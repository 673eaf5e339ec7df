"""Trains the network of ``edge_agent/vision/upright.py``: is a face the right way up?

FER-2013's Training faces at every angle, larger and smaller, blurred, noisy and lit from a side. Two minutes.

    python -m training.upright --data ../shared/data          # writes edge_agent/models/upright.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.upright import WEIGHTS, features
from training.data import SIDE, TRAINING, find_source, load

FACES = 120_000
HIDDEN = 32
EPOCHS = 12
BATCH = 256
SEED = 2013
UP_DEG, DOWN_DEG = 30.0, 60.0
"""Up to the first a face is upright, from the second on it is not. What lies between is not trained on."""
Image = NDArray[np.float32]


def main() -> None:
    """Train, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    faces = load(find_source(options.data))
    rows, upright = examples(faces.images[faces.splits == TRAINING], FACES, np.random.default_rng(SEED))
    names = ("first", "first_bias", "second", "second_bias")
    weights = {name: w.astype(np.float16) for name, w in zip(names, fit(rows, upright), strict=True)}
    np.savez(options.out, **weights)


def examples(
    images: NDArray[np.uint8], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features (count, pixels) of randomly turned faces, and 1 where they are upright, shape (count,)."""
    upright = rng.random(count) < 0.5
    angles = np.where(upright, rng.uniform(-UP_DEG, UP_DEG, count), rng.uniform(DOWN_DEG, 360 - DOWN_DEG, count))
    chosen = rng.integers(0, len(images), count)
    rows = [features(turned(images[i], float(a), rng)) for i, a in zip(chosen, angles, strict=True)]
    return np.stack(rows), upright.astype(np.float32)


def turned(image: NDArray[np.uint8], angle_deg: float, rng: np.random.Generator) -> Image:
    """A face at this angle, framed and lit at random."""
    middle = (SIDE - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), angle_deg, rng.uniform(0.8, 1.3))
    matrix[:, 2] += rng.normal(0, 2, 2)
    mirrored = image[:, ::-1] if rng.random() < 0.5 else image
    face = cv2.warpAffine(np.ascontiguousarray(mirrored), matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    picture: Image = np.asarray(face, np.float32)
    if rng.random() < 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 2.0)), np.float32)
    if rng.random() < 0.4:
        picture = picture + rng.normal(0, rng.uniform(2, 20), picture.shape).astype(np.float32)
    slope = np.linspace(-1, 1, SIDE, dtype=np.float32)
    for side in (slope[None, :], slope[:, None]):
        if rng.random() < 0.3:
            picture = picture + side * np.float32(rng.uniform(-40, 40))
    return np.clip(picture, 0, 255)


def fit(rows: NDArray[np.float32], upright: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Weights and biases of a hidden layer and of the answer."""
    import keras

    keras.utils.set_random_seed(SEED)
    pace = keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * len(rows) // BATCH)
    network = keras.Sequential(
        [
            keras.layers.Input((rows.shape[1],)),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(HIDDEN, activation="relu", kernel_regularizer=keras.regularizers.L2(3e-5)),
            keras.layers.Dense(1),
        ]
    )
    network.compile(keras.optimizers.AdamW(pace, weight_decay=1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    network.fit(rows, upright, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    weights: list[NDArray[np.float32]] = network.get_weights()
    return weights


if __name__ == "__main__":
    main()
