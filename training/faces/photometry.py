"""What cameras do to a picture: light, noise, blur, compression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.faces.recipe import Photometry

Image = NDArray[np.uint8]
_NOISE = np.random.default_rng(0).standard_normal(1 << 21).astype(np.float32)
"""Drawing it fresh for each picture would take longer than the network."""


def develop(image: Image, recipe: Photometry, rng: np.random.Generator) -> Image:
    """A picture as another camera, in other light, would have given it; same shape."""
    if rng.random() < recipe.tone:
        image = _toned(image, rng.uniform(0.6, 1.5), rng.normal(0, 20), gamma=float(np.exp(rng.normal(0, 0.3))))
    if rng.random() < recipe.shaded:
        image = _shaded(image, rng)
    if rng.random() < recipe.blurred:
        image = _u8(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.4)))
    if rng.random() < recipe.shaken:
        image = _shaken(image, rng)
    if rng.random() < recipe.dark:
        image = _toned(image, rng.uniform(0.12, 0.5), 0.0, gamma=1.0)
    if rng.random() < recipe.noisy:
        image = _noisy(image, rng.uniform(1, recipe.noise_sigma), rng)
    if rng.random() < recipe.compressed:
        quality = int(rng.integers(*recipe.jpeg_quality))
        _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = _u8(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE))
    return image


def _toned(image: Image, contrast: float, brightness: float, *, gamma: float) -> Image:
    levels = (np.arange(256, dtype=np.float32) / 255) ** gamma * 255
    table = np.clip((levels - 128 * (contrast > 0.55)) * contrast + 128 * (contrast > 0.55) + brightness, 0, 255)
    return _u8(cv2.LUT(image, table.astype(np.uint8)))


def _shaded(image: Image, rng: np.random.Generator) -> Image:
    """Light from one side: a gain that grows along a line."""
    height, width = image.shape
    across, down = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.7)
    gain = 1 + strength * (np.cos(angle) * across[None] + np.sin(angle) * down[:, None])
    return _u8(np.clip(image * gain, 0, 255))


def _shaken(image: Image, rng: np.random.Generator) -> Image:
    length, angle = int(rng.integers(3, 8)), rng.uniform(0, np.pi)
    kernel = np.zeros((length, length), np.float32)
    middle, reach = (length - 1) / 2, (length - 1) / 2 * np.array([np.cos(angle), np.sin(angle)])
    first, last = (np.round(middle + sign * reach).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, first, last, 1.0)
    return _u8(cv2.filter2D(image, -1, kernel / kernel.sum()))


def _noisy(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    start = int(rng.integers(_NOISE.size - image.size))
    noise = _NOISE[start : start + image.size].reshape(image.shape)
    return np.clip(image + sigma * noise + 0.5, 0, 255).astype(np.uint8)


def _u8(image: object) -> Image:
    return np.asarray(image).astype(np.uint8)
