"""From a float network's maps to faces, by the device's arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_agent.detectors.grids import Cells, Found, logit, read
from training.faces.targets import STRIDES


def decode(maps: Mapping[str, NDArray[np.float32]], least_score: float) -> Found:
    """The faces of one picture.

    ``maps`` holds (rows, columns, channels) of each output of :func:`training.faces.model.build`.
    """
    return read([_chosen(maps, stride, logit(least_score)) for stride in STRIDES])


def _chosen(maps: Mapping[str, NDArray[np.float32]], stride: int, least: float) -> Cells:
    logits = maps[f"score{stride}"][..., 0]
    rows, columns = np.nonzero(logits >= least)
    box, points = maps[f"box{stride}"], maps[f"points{stride}"]
    return Cells(stride, rows, columns, logits[rows, columns], box[rows, columns], points[rows, columns])
