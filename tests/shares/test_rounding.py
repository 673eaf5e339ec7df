"""Percentages with one decimal that still sum to 100.0."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.shares.rounding import percentages

SHARES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12).filter(lambda values: sum(values) > 1e-6)


@given(SHARES)
def test_they_sum_to_one_hundred_and_stay_close(values):
    """Whatever the shares: the sum is 100.0 in tenths, and nothing moved by a tenth or more."""
    shares = np.array(values)
    shown = percentages(shares)
    tenths = [round(10 * value) for value in shown]
    assert sum(tenths) == 1000
    assert np.abs(np.array(shown) - 100 * shares / shares.sum()).max() < 0.1 + 1e-6
    assert all(value == tenth / 10 for value, tenth in zip(shown, tenths, strict=True))


def test_thirds_give_the_odd_tenth_to_the_first():
    """Ties are settled the same way every time."""
    assert percentages(np.ones(3)) == [33.4, 33.3, 33.3]


@pytest.mark.parametrize("bad", [[0.0, 0.0], [-0.1, 1.1], [np.nan, 1.0], [np.inf, 1.0]])
def test_what_is_no_share_is_refused(bad):
    """Zeros, negative numbers and numbers that are none are errors, not figures."""
    with pytest.raises(ValueError, match="finite"):
        percentages(np.array(bad))
