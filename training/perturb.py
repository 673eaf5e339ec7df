"""Face pictures spoilt in one fixed way each, to measure with: what a camera, the light or a mask does.

Training never sees these, but things like them drawn at random (:mod:`training.camera`). The same pictures, name and
seed give the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data import SPLIT_SEED

Images = NDArray[np.uint8]
"""Grey, shape (n, side, side), faces framed as FER-2013's."""
Change = Callable[[Images, np.random.Generator], Images]


def perturbed(images: Images, name: str, seed: int = SPLIT_SEED) -> Images:
    """The images changed as PERTURBATIONS names it; raises KeyError for another name."""
    return PERTURBATIONS[name](images, np.random.default_rng(seed))


def _clean(images: Images, rng: np.random.Generator) -> Images:
    return images


def _noise(images: Images, rng: np.random.Generator, *, sigma: float) -> Images:
    """Gaussian, the same everywhere, of ``sigma`` grey levels."""
    grain = rng.standard_normal(images.shape, dtype=np.float32) * np.float32(sigma)
    return _grey(images + grain)


def _jpeg(images: Images, rng: np.random.Generator, *, quality: int) -> Images:
    return _each(images, lambda image: cv2.imdecode(_packed(image, quality), cv2.IMREAD_GRAYSCALE))


def _packed(image: Images, quality: int) -> NDArray[np.uint8]:
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(packed, np.uint8)


def _gain(images: Images, rng: np.random.Generator, *, factor: float) -> Images:
    """Too much or too little light: multiplied, then clipped."""
    return _grey(images.astype(np.float32) * np.float32(factor))


def _blur(images: Images, rng: np.random.Generator, *, sigma: float) -> Images:
    """Out of focus; ``sigma`` in pixels."""
    return _each(images, lambda image: cv2.GaussianBlur(image, (0, 0), sigma))


def _few_pixels(images: Images, rng: np.random.Generator, *, side: int) -> Images:
    """Shrunk to ``side`` pixels and enlarged again, as the device's crop of a small face is."""
    full = images.shape[1]

    def change(image: Images) -> Images:
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (full, full), interpolation=cv2.INTER_LINEAR), np.uint8)

    return _each(images, change)


def _sunglasses(images: Images, rng: np.random.Generator) -> Images:
    """Two dark lenses, a bridge and temples at the mean height of FER-2013's eyes."""
    side = images.shape[1]
    eyes, dark = round(0.375 * side), 15

    def change(image: Images) -> Images:
        worn = image.copy()
        for centre in (0.31, 0.69):
            cv2.ellipse(
                worn, (round(centre * side), eyes), (round(0.155 * side), round(0.1 * side)), 0, 0, 360, dark, -1
            )
        cv2.line(worn, (round(0.05 * side), eyes - 2), (round(0.95 * side), eyes - 2), dark, 2)
        return worn

    return _each(images, change)


def _mask(images: Images, rng: np.random.Generator) -> Images:
    """Plain light cloth over nose, mouth and chin, as high as the nostrils."""
    side = images.shape[1]
    shape = [(0.16, 0.62), (0.5, 0.58), (0.84, 0.62), (0.82, 0.82), (0.62, 0.98), (0.38, 0.98), (0.18, 0.82)]
    corners = (np.array(shape) * side).round().astype(np.int32)
    return _each(images, lambda image: cv2.fillPoly(image.copy(), [corners], 200))


def _each(images: Images, change: Callable[[Images], Images]) -> Images:
    return np.stack([change(image) for image in images])


def _grey(levels: NDArray[np.float32]) -> Images:
    result: Images = np.clip(np.round(levels), 0, 255).astype(np.uint8)
    return result


PERTURBATIONS: Final[dict[str, Change]] = {
    "clean": _clean,
    "noise 5": partial(_noise, sigma=5),
    "noise 10": partial(_noise, sigma=10),
    "noise 20": partial(_noise, sigma=20),
    "JPEG 20": partial(_jpeg, quality=20),
    "brightness x2.2": partial(_gain, factor=2.2),
    "brightness x0.3": partial(_gain, factor=0.3),
    "blur 1.2 px": partial(_blur, sigma=1.2),
    "sunglasses": _sunglasses,
    "mask": _mask,
    "16 px": partial(_few_pixels, side=16),
}
"""By the name that tables give them: noise in grey levels, JPEG's quality, the width of a small face."""
