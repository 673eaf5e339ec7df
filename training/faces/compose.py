"""Training pictures: parts of several scenes at random sizes and angles, with faces pasted in and half hidden."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.faces.data import Faces, Scene
from training.faces.recipe import Composition

Image = NDArray[np.uint8]
Affine = NDArray[np.float32]
"""Shape (2, 3), from a scene's pixels to the picture's."""
_MIRRORED = [1, 0, 2, 4, 3]
"""Order of the landmarks in a mirrored face."""
_VISIBLE, _GLIMPSED = 0.6, 0.15
"""Share of a face that makes it one, and below which nobody could call it one."""
_MOST_PASTED = 4
_PASTED_PX = (10.0, 80.0)


@dataclass(frozen=True)
class Window:
    """A part of the picture, in its pixels."""

    left: int
    top: int
    width: int
    height: int


def compose(scenes: list[Scene], recipe: Composition, rng: np.random.Generator) -> tuple[Image, Faces]:
    """One picture of shape (side, side) and its faces."""
    canvas = np.empty((recipe.side, recipe.side), np.uint8)
    found = []
    for window in _windows(recipe, rng):
        scene = scenes[rng.integers(len(scenes))]
        affine, mirrored = _placed(scene, window, recipe, rng=rng)
        part = canvas[window.top : window.top + window.height, window.left : window.left + window.width]
        part[:] = _warped(scene.image, _shifted(affine, window), (window.width, window.height), rng=rng)
        found.append(_visible(_moved(scene.faces, affine, mirrored=mirrored), window))
    if rng.random() < recipe.pasted:
        found.append(_paste(canvas, scenes, _joined(found), recipe=recipe, rng=rng))
    faces = _joined(found)
    _hide(canvas, faces, recipe, rng=rng)
    return canvas, faces


def _windows(recipe: Composition, rng: np.random.Generator) -> list[Window]:
    side = recipe.side
    parts = rng.choice(3, p=recipe.parts)
    x, y = (int(side * rng.uniform(0.35, 0.65)) for _ in range(2))
    if parts == 0:
        return [Window(0, 0, side, side)]
    if parts == 2:
        return [Window(a, b, w, h) for a, w in ((0, x), (x, side - x)) for b, h in ((0, y), (y, side - y))]
    if rng.random() < 0.5:
        return [Window(0, 0, x, side), Window(x, 0, side - x, side)]
    return [Window(0, 0, side, y), Window(0, y, side, side - y)]


def _placed(scene: Scene, window: Window, recipe: Composition, *, rng: np.random.Generator) -> tuple[Affine, bool]:
    """The way of the scene's pixels into the picture, and whether it is mirrored."""
    height, width = scene.image.shape
    cover = max(window.width / width, window.height / height)
    known = np.flatnonzero(~scene.faces.ignored)
    if len(known) and rng.random() < recipe.aimed:
        x, y, w, h = scene.faces.boxes[rng.choice(known)]
        least, most = recipe.face_px[0], min(recipe.face_px[1], 1.1 * min(window.width, window.height))
        scale = float(np.exp(rng.uniform(np.log(least), np.log(most)))) / max(w, h)
        scale = float(np.clip(scale, 0.5 * cover, max(0.5 * cover, recipe.largest_scale)))
        middle = (x + w / 2, y + h / 2)
        aim = (window.left + window.width * rng.uniform(0.1, 0.9), window.top + window.height * rng.uniform(0.1, 0.9))
    else:
        scale = cover * float(np.exp(rng.uniform(np.log(0.75), np.log(1.6))))
        middle = (width / 2, height / 2)
        spare = [max(0.0, side * scale - there) for side, there in ((width, window.width), (height, window.height))]
        aim = (
            window.left + window.width / 2 + spare[0] * rng.uniform(-0.5, 0.5),
            window.top + window.height / 2 + spare[1] * rng.uniform(-0.5, 0.5),
        )
    mirrored = bool(rng.random() < 0.5)
    return _affine(
        middle, aim, scale, degrees=_angle(recipe, rng), aspect=rng.uniform(0.9, 1.1), mirrored=mirrored
    ), mirrored


def _angle(recipe: Composition, rng: np.random.Generator) -> float:
    if rng.random() < recipe.turned:
        return float(rng.uniform(-recipe.turn_degrees, recipe.turn_degrees))
    return float(rng.normal(0, 5))


def _affine(
    middle: tuple[float, float],
    aim: tuple[float, float],
    scale: float,
    *,
    degrees: float,
    aspect: float,
    mirrored: bool,
) -> Affine:
    """Scale, mirror and turn about ``middle``, which comes to lie at ``aim``."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    stretch = np.sqrt(aspect)
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.diag(
        [scale * stretch * (-1 if mirrored else 1), scale / stretch]
    )
    shift = np.array(aim) - matrix @ np.array(middle)
    return np.column_stack([matrix, shift]).astype(np.float32)


def _shifted(affine: Affine, window: Window) -> Affine:
    return affine - np.array([[0, 0, window.left], [0, 0, window.top]], np.float32)


def _warped(image: Image, affine: Affine, size: tuple[int, int], *, rng: np.random.Generator) -> Image:
    """The picture through the affine; halved first as often as it shrinks by more, or pixels would be skipped."""
    affine = affine.copy()
    while np.sqrt(abs(np.linalg.det(affine[:, :2]))) < 0.6 and min(image.shape) > 8:
        height, width = image.shape
        half = (width // 2, height // 2)
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
        affine[:, 0] *= width / half[0]
        affine[:, 1] *= height / half[1]
    border = cv2.BORDER_REPLICATE if rng.random() < 0.4 else cv2.BORDER_CONSTANT
    fill = int(rng.integers(256))
    warped = cv2.warpAffine(image, affine, size, flags=cv2.INTER_LINEAR, borderMode=border, borderValue=fill)
    return np.asarray(warped, np.uint8)


def _moved(faces: Faces, affine: Affine, *, mirrored: bool) -> Faces:
    """The faces in the picture. A turned face's upright box is that of the ellipse in the old one."""
    centres = faces.boxes[:, :2] + faces.boxes[:, 2:] / 2
    centres = centres @ affine[:, :2].T + affine[:, 2]
    half = faces.boxes[:, 2:] / 2
    reach = np.sqrt((half**2) @ (affine[:, :2] ** 2).T)
    points = faces.points @ affine[:, :2].T + affine[:, 2]
    if mirrored:
        points = points[:, _MIRRORED]
    boxes = np.concatenate([centres - reach, 2 * reach], axis=1)
    return Faces(boxes.astype(np.float32), points.astype(np.float32), faces.ignored)


def _visible(faces: Faces, window: Window) -> Faces:
    """What the window leaves of the faces; one that is mostly outside is ignored, its last edge dropped."""
    low = np.array([window.left, window.top], np.float32)
    high = low + np.array([window.width, window.height], np.float32)
    first = np.clip(faces.boxes[:, :2], low, high)
    last = np.clip(faces.boxes[:, :2] + faces.boxes[:, 2:], low, high)
    share = (last - first).prod(axis=1) / np.maximum(faces.boxes[:, 2:].prod(axis=1), 1e-6)
    points = faces.points.copy()
    points[((points < low) | (points > high)).any(axis=2)] = np.nan
    kept = share > _GLIMPSED
    boxes = np.concatenate([first, last - first], axis=1)
    return Faces(boxes[kept], points[kept], (faces.ignored | (share < _VISIBLE))[kept])


def _joined(parts: list[Faces]) -> Faces:
    return Faces(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.points for part in parts]),
        np.concatenate([part.ignored for part in parts]),
    )


def _paste(canvas: Image, scenes: list[Scene], there: Faces, *, recipe: Composition, rng: np.random.Generator) -> Faces:
    """Blend faces of other scenes, with some of their surroundings, into free places; returns them."""
    side = recipe.side
    whole = Window(0, 0, side, side)
    pasted: list[Faces] = []
    for _ in range(int(rng.integers(1, _MOST_PASTED + 1))):
        scene = scenes[rng.integers(len(scenes))]
        known = np.flatnonzero(~scene.faces.ignored & (scene.faces.boxes[:, 2:].max(axis=1) > 24))
        if not len(known):
            continue
        face = int(rng.choice(known))
        x, y, w, h = scene.faces.boxes[face]
        size = float(np.exp(rng.uniform(*np.log(_PASTED_PX)))) * min(1.0, side / 256)
        aim = tuple(rng.uniform(0.6 * size, side - 0.6 * size, 2))
        mirrored = bool(rng.random() < 0.5)
        affine = _affine(
            (x + w / 2, y + h / 2), aim, size / max(w, h), degrees=_angle(recipe, rng), aspect=1.0, mirrored=mirrored
        )
        moved = _visible(_moved(_only(scene.faces, face), affine, mirrored=mirrored), whole)
        if not len(moved) or _overlapping(moved.boxes[0], _joined([there, *pasted]).boxes):
            continue
        reach = size * rng.uniform(0.65, 1.0)
        mask = np.zeros((side, side), np.uint8)
        cv2.ellipse(mask, (int(aim[0]), int(aim[1])), (int(reach), int(1.15 * reach)), 0, 0, 360, 255, -1)
        # What lies beyond the scene's own border must not come along.
        inside = cv2.warpAffine(np.full(scene.image.shape, 255, np.uint8), affine, (side, side))
        soft = cv2.blur(cv2.min(mask, inside), (2 * int(reach / 8) + 1,) * 2).astype(np.float32) / 255
        part = _warped(scene.image, affine, (side, side), rng=rng).astype(np.float32)
        canvas[:] = (canvas + soft * (part - canvas)).astype(np.uint8)
        pasted.append(moved)
    return _joined([_none(), *pasted])


def _only(faces: Faces, index: int) -> Faces:
    chosen = slice(index, index + 1)
    return Faces(faces.boxes[chosen], faces.points[chosen], faces.ignored[chosen])


def _none() -> Faces:
    return Faces(np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, bool))


def _overlapping(box: NDArray[np.float32], others: NDArray[np.float32]) -> bool:
    """Whether a box, with as much again around it, touches another."""
    gap = np.abs(others[:, :2] + others[:, 2:] / 2 - box[:2] - box[2:] / 2)
    return bool((gap < box[2:] + others[:, 2:] / 2).all(axis=1).any())


def _hide(canvas: Image, faces: Faces, recipe: Composition, *, rng: np.random.Generator) -> None:
    """Draw masks and sunglasses over some of the faces."""
    for points in faces.points[~np.isnan(faces.points).any(axis=(1, 2)) & ~faces.ignored]:
        right_eye, left_eye, nose, right_mouth, left_mouth = points
        eyes = float(np.hypot(*(left_eye - right_eye)))
        down = (right_mouth + left_mouth - right_eye - left_eye) / 2
        grey = int(rng.choice([rng.integers(0, 60), rng.integers(60, 256)]))
        if rng.random() < recipe.masked:
            out = (left_mouth - right_mouth) * 0.5
            outline = [nose - 0.15 * down, left_mouth + out - 0.35 * down, left_mouth + out + 0.2 * down]
            outline += [(left_mouth + right_mouth) / 2 + 0.65 * down]
            outline += [right_mouth - out + 0.2 * down, right_mouth - out - 0.35 * down]
            cv2.fillPoly(canvas, [np.array(outline).round().astype(np.int32)], grey, cv2.LINE_AA)
        elif rng.random() < recipe.sunglasses:
            for eye in (right_eye, left_eye):
                size = (max(1, round(0.36 * eyes)), max(1, round(0.27 * eyes)))
                turn = float(np.degrees(np.arctan2(*(left_eye - right_eye)[::-1])))
                middle = (eye + 0.08 * down).round().astype(int).tolist()
                cv2.ellipse(canvas, middle, size, turn, 0, 360, min(grey, 50), -1, cv2.LINE_AA)
            first, last = (eye.round().astype(int).tolist() for eye in (right_eye, left_eye))
            cv2.line(canvas, first, last, min(grey, 50), max(1, round(0.08 * eyes)), cv2.LINE_AA)
