"""Finds the faces of a still picture of any size, also those that vanish where a detector scales the whole one down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.detectors import Detector
from edge_agent.types import Box, Face

OVERLAP = 0.25
"""Neighbouring tiles share this part of their side. A larger face is found on a coarser level."""
SAME = 0.5
"""Two boxes are one face if they share this part of the smaller one."""


def find_faces(detector: Detector, image: NDArray[np.uint8], size_px: int) -> list[Face]:
    """The faces of a BGR picture of shape (height, width, 3), the surest of those that overlap.

    The whole picture is looked at first, and then tiles of it, on each level half as large as on the one before. The
    finest are not scaled down any more, so that a face of 24 pixels is found in a picture of any size.

    Args:
        size_px: the longer side that the detector scales a picture down to.
    """
    found = list(detector.detect(image))
    if detector.kind != "whole_frame":  # there the picture is one face
        for side in levels(max(image.shape[:2]), size_px):
            for top, left in corners(image.shape[0], image.shape[1], side):
                tile = image[top : top + side, left : left + side]
                found += _placed(detector.detect(np.ascontiguousarray(tile)), tile, image, top=top, left=left)
    return surest(found)


def levels(longer_px: int, size_px: int) -> list[int]:
    """Sides of the tiles, from coarse to fine; none where the whole picture is not scaled down."""
    sides = [size_px]
    while sides[0] < longer_px:
        sides.insert(0, 2 * sides[0])
    return sides[1:]


def corners(height: int, width: int, side: int) -> Iterator[tuple[int, int]]:
    """Upper left corners (top, left) of tiles that cover everything and share :data:`OVERLAP`."""
    for top in _starts(height, side):
        for left in _starts(width, side):
            yield top, left


def _starts(length: int, side: int) -> list[int]:
    last = max(0, length - side)
    count = 1 + int(np.ceil(last / (side * (1 - OVERLAP))))
    return [round(start) for start in np.linspace(0, last, count)]


def _placed(
    faces: Iterable[Face], tile: NDArray[np.uint8], image: NDArray[np.uint8], *, top: int, left: int
) -> Iterator[Face]:
    """In the picture's pixels, without those that the tile cuts off: a neighbour or a coarser level has them whole."""
    height, width = tile.shape[:2]
    for face in faces:
        box = face.box
        cut_x = (left > 0 and box.x < 1) or (left + width < image.shape[1] and box.x + box.width > width - 1)
        cut_y = (top > 0 and box.y < 1) or (top + height < image.shape[0] and box.y + box.height > height - 1)
        if not (cut_x or cut_y):
            points = None if face.landmarks is None else tuple((x + left, y + top) for x, y in face.landmarks)
            yield replace(face, box=Box(box.x + left, box.y + top, box.width, box.height), landmarks=points)


def surest(faces: Iterable[Face]) -> list[Face]:
    """One face for each place: the surest of those that share :data:`SAME` of the smaller box."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda each: -each.score):
        if all(_shared(face.box, other.box) < SAME for other in kept):
            kept.append(face)
    return kept


def _shared(a: Box, b: Box) -> float:
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    smaller = min(a.width * a.height, b.width * b.height)
    return max(0.0, width) * max(0.0, height) / smaller if smaller > 0 else 0.0
