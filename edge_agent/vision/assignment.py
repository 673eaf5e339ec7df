"""A one-to-one pairing of a small score table: which detection continues which track."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def best_pairs(scores: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pair rows with columns one to one, the highest score first.

    A score of 0 or less means "not a pair", and such pairs are never returned. The best sum of scores (Jonker and
    Volgenant 1987) gives the same counts on the films of ``benchmarks/tracking.py`` and needs 50 lines more.

    Args:
        scores: shape (rows, columns); either may be 0.

    Returns:
        (row, column) of each pair, ordered by row.
    """
    pairs: dict[int, int] = {}
    for row, column in zip(*np.unravel_index(np.argsort(-scores, axis=None, kind="stable"), scores.shape), strict=True):
        if scores[row, column] <= 0:
            break
        if row not in pairs and column not in pairs.values():
            pairs[int(row)] = int(column)
    return sorted(pairs.items())
