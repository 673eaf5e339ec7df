from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.store.ranges import Ranges

PAIRS = st.lists(st.tuples(st.integers(1, 60), st.integers(-2, 12)).map(lambda p: (p[0], p[0] + p[1])))


@given(PAIRS)
def test_ranges_behave_like_a_set(pairs: list[tuple[int, int]]) -> None:
    ranges, expected = Ranges(pairs), {n for first, last in pairs for n in range(first, last + 1)}
    assert {n for n in range(80) if n in ranges} == expected
    assert ranges.highest == max(expected, default=0)


@given(PAIRS)
def test_ranges_stay_sorted_and_apart(pairs: list[tuple[int, int]]) -> None:
    kept = list(Ranges(pairs))
    assert all(first <= last for first, last in kept)
    assert all(left[1] + 1 < right[0] for left, right in pairwise(kept))


@given(PAIRS, st.integers(1, 40), st.integers(0, 40))
def test_gaps_are_what_is_missing(pairs: list[tuple[int, int]], first: int, length: int) -> None:
    ranges, last = Ranges(pairs), first + length
    missing = [n for low, high in ranges.gaps(first, last) for n in range(low, high + 1)]
    assert missing == [n for n in range(first, last + 1) if n not in ranges]
