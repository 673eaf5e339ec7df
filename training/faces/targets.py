"""Which cells of the three grids answer for which face, and what they should say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.faces.data import Faces
from training.faces.recipe import Assignment

STRIDES = (8, 16, 32)
"""Pixels between neighbouring cells of the three grids."""
COLUMNS = 17
"""Of a target: 1 a face, 0 none, -1 neither; box; five points; whether they count... see :func:`targets`."""


@dataclass(frozen=True)
class Grid:
    """The middles of the cells of one grid, in pixels."""

    stride: int
    rows: int
    columns: int

    def middles(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """x of each column, y of each row."""
        return (np.arange(self.columns, dtype=np.float32) + 0.5) * self.stride, (
            np.arange(self.rows, dtype=np.float32) + 0.5
        ) * self.stride


def targets(faces: Faces, side: int, rule: Assignment) -> NDArray[np.float32]:
    """What the cells should say, shape (cells, 17), finest grid first, row by row.

    Column 0: 1 a face, 0 none, -1 neither. 1 to 4: the face's middle, in strides from the cell's, and the logarithm of
    width and height in strides. 5 to 14: the landmarks, in strides from the cell's middle, or not a number. 15: the
    face's longer side in strides. 16: one over the number of cells that answer for this face.
    """
    sizes = faces.boxes[:, 2:].max(axis=1, initial=0)
    neither = faces.ignored | (sizes < rule.least_px)
    # A small face in front of a large one has the cell.
    order = np.argsort(-sizes)
    result = []
    for stride, (least, most) in zip(STRIDES, rule.sizes, strict=True):
        grid = Grid(stride, side // stride, side // stride)
        cells = np.zeros((grid.rows, grid.columns, COLUMNS), np.float32)
        for index in order[neither[order]]:
            cells[_inside(grid, faces.boxes[index])][..., 0] = -1
        for index in order[~neither[order]]:
            if least <= sizes[index] <= most:
                _answer(cells, grid, faces.boxes[index], points=faces.points[index], rule=rule)
        result.append(cells.reshape(-1, COLUMNS))
    return np.concatenate(result)


def _answer(
    cells: NDArray[np.float32], grid: Grid, box: NDArray[np.float32], *, points: NDArray[np.float32], rule: Assignment
) -> None:
    centre, size = box[:2] + box[2:] / 2, float(box[2:].max())
    radius = max(rule.radius_strides * grid.stride, rule.radius_share * size)
    near = _inside(grid, np.array([*(centre - radius), 2 * radius, 2 * radius]))
    chosen = cells[near]
    if not chosen.size:
        return
    xs, ys = grid.middles()
    x, y = np.meshgrid(xs[near[1]], ys[near[0]])
    chosen[..., 0] = 1
    chosen[..., 1] = (centre[0] - x) / grid.stride
    chosen[..., 2] = (centre[1] - y) / grid.stride
    chosen[..., 3:5] = np.log(np.maximum(box[2:], 1) / grid.stride)
    chosen[..., 5:15:2] = (points[:, 0] - x[..., None]) / grid.stride
    chosen[..., 6:15:2] = (points[:, 1] - y[..., None]) / grid.stride
    chosen[..., 15] = size / grid.stride
    chosen[..., 16] = 1 / (chosen.shape[0] * chosen.shape[1])


def _inside(grid: Grid, box: NDArray[np.float32]) -> tuple[slice, slice]:
    """Rows and columns of the cells whose middle lies in the box."""
    first = np.maximum(np.ceil(box[:2] / grid.stride - 0.5), 0).astype(int)
    last = np.floor((box[:2] + box[2:]) / grid.stride - 0.5).astype(int) + 1
    return slice(first[1], max(first[1], last[1])), slice(first[0], max(first[0], last[0]))
