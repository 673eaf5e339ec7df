"""Random changes of training images, in numpy and OpenCV: an order of magnitude faster on a CPU than graph layers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training import camera
from training.recipe import Augmentation


def augment(images: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    """Change each of the images (n, side, side) at random; grey levels 0 to 255 of shape (n, side, side) come back."""
    matrices = _placements(len(images), images.shape[1], how, rng=rng)
    seen = np.flatnonzero(rng.random(len(images)) < how.camera.probability) if how.camera.probability else None
    if seen is not None:
        images = images.copy()
        images[seen] = camera.cover(images[seen], how.camera, rng)
    placed = np.stack([_warp(image, matrix) for image, matrix in zip(images, matrices, strict=True)])
    _soften(placed, how, rng)
    changed = _relight(placed.astype(np.float32), how, rng)
    _erase(changed, how, rng)
    if seen is not None:
        changed[seen] = camera.photograph(changed[seen], how.camera, rng)
    return changed


def mix(
    images: NDArray[np.float32], targets: NDArray[np.float32], alpha: float, *, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """mixup (Zhang et al. 2018): each image and target blended with another of the batch, one weight for all."""
    share = np.float32(max(w := rng.beta(alpha, alpha), 1 - w))
    partner = rng.permutation(len(images))
    return share * images + (1 - share) * images[partner], share * targets + (1 - share) * targets[partner]


def _placements(n: int, side: int, how: Augmentation, *, rng: np.random.Generator) -> NDArray[np.float64]:
    """Matrices (n, 2, 3) from output to input pixels: flip, rotation, zoom, stretch and shift in one."""
    angle = np.radians(rng.uniform(-how.rotation_degrees, how.rotation_degrees, n))
    zoom = _log_uniform(how.zoom, n, rng)
    stretch = np.exp(rng.uniform(-how.aspect, how.aspect, n) / 2)
    flip = rng.choice([-1.0, 1.0], n)
    shift = rng.uniform(-how.shift, how.shift, (n, 2)) * side
    across, down = zoom * stretch * flip, zoom / stretch
    turn = np.stack([np.cos(angle) * across, -np.sin(angle) * down, np.sin(angle) * across, np.cos(angle) * down], 1)
    turn = turn.reshape(n, 2, 2)
    centre = np.full(2, (side - 1) / 2)
    return np.concatenate([turn, (centre + shift - turn @ centre)[:, :, None]], axis=2)


def _warp(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (image.shape[1], image.shape[0])
    warped: NDArray[np.uint8] = cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return warped


def _soften(images: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator) -> None:
    """Shrink some images and enlarge them again, in place."""
    side = images.shape[1]
    chosen = np.flatnonzero(rng.random(len(images)) < how.soften_probability)
    for i, small in zip(chosen, rng.integers(side // 2, side, len(chosen)), strict=True):
        shrunk = cv2.resize(images[i], (int(small), int(small)), interpolation=cv2.INTER_AREA)
        images[i] = cv2.resize(shrunk, (side, side), interpolation=cv2.INTER_LINEAR)


def _relight(images: NDArray[np.float32], how: Augmentation, rng: np.random.Generator) -> NDArray[np.float32]:
    n = len(images)
    contrast = _log_uniform(how.contrast, n, rng).astype(np.float32)[:, None, None]
    brightness = rng.uniform(-how.brightness, how.brightness, n).astype(np.float32)[:, None, None]
    middle = images.mean(axis=(1, 2), keepdims=True)
    changed: NDArray[np.float32] = np.clip((images - middle) * contrast + middle + brightness, 0, 255)
    return changed


def _log_uniform(span: tuple[float, float], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Factors for which half and double are equally likely."""
    factors: NDArray[np.float64] = np.exp(rng.uniform(np.log(span[0]), np.log(span[1]), n))
    return factors


def _erase(images: NDArray[np.float32], how: Augmentation, rng: np.random.Generator) -> None:
    """Random erasing (Zhong et al. 2020): a rectangle of one random grey in some images, in place."""
    side = images.shape[1]
    for i in np.flatnonzero(rng.random(len(images)) < how.erase_probability):
        area = rng.uniform(*how.erase_area) * side * side
        ratio = np.exp(rng.uniform(np.log(0.4), np.log(2.5)))
        height = int(np.clip(np.sqrt(area * ratio), 1, side))
        width = int(np.clip(np.sqrt(area / ratio), 1, side))
        top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
        images[i, top : top + height, left : left + width] = rng.uniform(0, 255)
