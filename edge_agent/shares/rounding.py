"""Rounding that keeps sums: seven shares rounded one by one rarely add up to 100.0, so the rest is given to the largest
remainders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TENTHS = 1000
"""100.0 percent in tenths."""


def percentages(shares: NDArray[np.float64]) -> list[float]:
    """Fractions as percentages with one decimal that sum to 100.0, by the largest-remainder method (Hamilton, 1792).

    Args:
        shares: fractions, shape (k,), each >= 0, with a positive sum (they are normalised here).

    Returns:
        ``k`` numbers with one decimal, 0.0 to 100.0; each is less than 0.1 from its exact value. Equal remainders go to
        the earlier one, so that the same shares always give the same figures.

    Raises:
        ValueError: a share is negative or not finite, or all are zero.
    """
    exact = np.asarray(shares, dtype=np.float64)
    total = exact.sum()
    if not np.isfinite(total) or total <= 0 or (exact < 0).any():
        raise ValueError(f"shares must be finite, not negative and not all zero, not {exact.tolist()}")
    tenths = exact / total * TENTHS
    whole = np.floor(tenths)
    missing = TENTHS - int(whole.sum())
    # Sorted by rounded remainders: a difference in the last bit must not decide which share gets the tenth.
    order = np.argsort(-np.round(tenths - whole, 9), kind="stable")
    whole[order[:missing]] += 1
    return [float(value) / 10 for value in whole]
