"""Training images as cameras make them: things worn, light, blur, few pixels, sensor noise, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.recipe import Camera

Picture = NDArray[np.float32]
"""Grey levels 0 to 255, shape (side, side)."""

EYES, MOUTH, NOSE = 0.37, 0.79, 0.61
"""How far down FER-2013's faces have them, as a share of the side; read off their mean."""


def pictures(images: NDArray[np.uint8], how: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grey faces (n, side, side) as cameras would give them: covered, photographed and rounded."""
    taken = photograph(cover(images, how, rng).astype(np.float32), how, rng)
    rounded: NDArray[np.uint8] = np.clip(np.round(taken), 0, 255).astype(np.uint8)
    return rounded


def cover(images: NDArray[np.uint8], how: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Put sunglasses and masks on some of the upright, centred faces (n, side, side)."""
    covered = images.copy()
    for i in np.flatnonzero(rng.random(len(images)) < how.glasses):
        _glasses(covered[i], rng)
    for i in np.flatnonzero(rng.random(len(images)) < how.mask):
        _mask(covered[i], rng)
    return covered


def photograph(images: NDArray[np.float32], how: Camera, rng: np.random.Generator) -> NDArray[np.float32]:
    """Light the scenes (n, side, side; 0 to 255) and take pictures of them."""
    drawn = rng.random((6, len(images)))
    lit, exposed, blurred, small, noisy, packed = (
        draw < share
        for draw, share in zip(drawn, (how.side_light, how.gain, how.blur, how.small, how.noise, how.jpeg), strict=True)
    )
    taken = np.empty_like(images)
    for i, image in enumerate(images):
        scene = _side_light(image, rng) if lit[i] else image
        if exposed[i]:
            scene = scene * np.float32(np.exp(rng.uniform(*np.log(how.gain_range))))
        if blurred[i]:
            scene = _blur(scene, rng)
        sigma = rng.uniform(*how.noise_sigma) if noisy[i] else 0.0
        if noisy[i] and rng.random() < 0.3:  # many pixels, each with its noise, then shrunk to the crop
            scene = cv2.GaussianBlur(_noise(scene, 2 * sigma, rng), (0, 0), rng.uniform(0.4, 0.8))
            sigma = 0.0
        seen = _shrink(scene, int(rng.integers(*how.small_side, endpoint=True))) if small[i] else scene
        if sigma:
            seen = _noise(seen, sigma, rng)
        seen = np.clip(seen, 0, 255)
        if packed[i]:
            seen = _jpeg(seen, int(rng.integers(*how.jpeg_quality, endpoint=True)))
        taken[i] = _enlarge(seen, image.shape[0], rng) if small[i] else seen
    return taken


def _glasses(image: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Two lenses and a bridge, or a bar, of one dark grey; sometimes see-through. In place."""
    side = image.shape[0]
    before = image.copy()
    grey, eyes = int(rng.uniform(0, 80)), side * (EYES + rng.uniform(-0.05, 0.05))
    middle, apart = side * (0.5 + rng.uniform(-0.04, 0.04)), side * rng.uniform(0.17, 0.23)
    half_width, half_height = side * rng.uniform(0.11, 0.18), side * rng.uniform(0.06, 0.13)
    kind = rng.random()
    for centre in (middle - apart, middle + apart):
        corner = (round(centre - half_width), round(eyes - half_height))
        opposite = (round(centre + half_width), round(eyes + half_height))
        if kind < 0.5:
            axes = (max(1, round(half_width)), max(1, round(half_height)))
            cv2.ellipse(image, (round(centre), round(eyes)), axes, 0, 0, 360, grey, -1)
        else:
            cv2.rectangle(image, corner, opposite, grey, -1)
    reach = side * 0.5 if rng.random() < 0.5 else apart + half_width
    thickness = 2 * half_height if kind > 0.8 else side * rng.uniform(0.02, 0.06)
    top, bottom = round(eyes - thickness / 2), round(eyes + thickness / 2)
    image[max(0, top) : bottom, max(0, round(middle - reach)) : round(middle + reach)] = grey
    _blend(image, before, rng.uniform(0.75, 1))


def _mask(image: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """A polygon or box from nose or mouth down, of any grey, with a fold or two. In place."""
    side = image.shape[0]
    before = image.copy()
    grey = float(rng.uniform(0, 255))
    alone = rng.random() < 0.25  # over the mouth alone: a hand, a cup, a microphone
    top = side * (MOUTH - rng.uniform(0.1, 0.16) if alone else NOSE + rng.uniform(-0.09, 0.08))
    bottom = side * (MOUTH + rng.uniform(0.08, 0.16) if alone else rng.uniform(0.92, 1.02))
    half = side * rng.uniform(0.28, 0.5)
    narrow = half * rng.uniform(0.5, 1)
    middle = side * (0.5 + rng.uniform(-0.04, 0.04))
    nose = top - side * rng.uniform(0, 0.08)
    corners = [(middle - half, top), (middle, nose), (middle + half, top)]
    corners += [(middle + narrow, bottom), (middle - narrow, bottom)]
    cv2.fillPoly(image, [np.array(corners).round().astype(np.int32)], int(grey))
    for fold in rng.uniform(top, bottom, rng.integers(0, 4)):
        shade = int(np.clip(grey + rng.uniform(-40, 40), 0, 255))
        cv2.line(image, (round(middle - narrow), round(fold)), (round(middle + narrow), round(fold)), shade, 1)
    _blend(image, before, rng.uniform(0.85, 1))


def _blend(image: NDArray[np.uint8], before: NDArray[np.uint8], opacity: float) -> None:
    cv2.addWeighted(image, opacity, before, 1 - opacity, 0, dst=image)


def _side_light(image: Picture, rng: np.random.Generator) -> Picture:
    """Multiply by a slope across the picture, in any direction, of mean 1."""
    side = image.shape[0]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.75)
    along = np.linspace(-1, 1, side, dtype=np.float32)
    slope = np.cos(angle) * along[None, :] + np.sin(angle) * along[:, None]
    lit: Picture = np.clip(image * (1 + np.float32(strength) * slope), 0, 255).astype(np.float32)
    return lit


def _blur(image: Picture, rng: np.random.Generator) -> Picture:
    if rng.random() < 0.7:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6)), np.float32)
    length = int(rng.choice([3, 5, 7]))
    streak = np.zeros((length, length), np.float32)
    end = length // 2
    angle = rng.uniform(0, np.pi)
    across, down = round(end * np.cos(angle)), round(end * np.sin(angle))
    cv2.line(streak, (end - across, end - down), (end + across, end + down), 1.0)
    return np.asarray(cv2.filter2D(image, -1, streak / streak.sum()), np.float32)


def _noise(image: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    """Half of the time everywhere alike (reading), else growing with the light (photons)."""
    grain = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)
    if rng.random() < 0.3:
        grain *= np.sqrt(np.maximum(image, 8) / np.float32(128))
    noisy: Picture = np.clip(image + grain, 0, 255)
    return noisy


def _shrink(image: Picture, side: int) -> Picture:
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _enlarge(image: Picture, side: int, rng: np.random.Generator) -> Picture:
    method = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_CUBIC
    return np.asarray(np.clip(cv2.resize(image, (side, side), interpolation=method), 0, 255), np.float32)


def _jpeg(image: Picture, quality: int) -> Picture:
    _, packed = cv2.imencode(".jpg", image.round().astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.float32)
