"""A set of whole numbers as sorted, disjoint ranges: which windows are delivered, in a few bytes for millions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """Grows only. Touching ranges are merged, so an unbroken history is one pair however long it is."""

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in pairs:
            self.add(first, last)

    def add(self, first: int, last: int | None = None) -> None:
        """Add every number from ``first`` to ``last``, both included (``last`` defaults to ``first``)."""
        last = first if last is None else last
        if last < first:
            return
        start = bisect_right(self._firsts, first)
        if start and self._lasts[start - 1] >= first - 1:
            start -= 1
        end = bisect_right(self._firsts, last + 1)
        if start < end:
            first, last = min(first, self._firsts[start]), max(last, self._lasts[end - 1])
        self._firsts[start:end] = [first]
        self._lasts[start:end] = [last]

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number)
        return at > 0 and self._lasts[at - 1] >= number

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(first, last) of each range, ascending."""
        return iter(zip(self._firsts, self._lasts, strict=True))

    @property
    def highest(self) -> int:
        """The largest number in the set; 0 when it is empty."""
        return self._lasts[-1] if self._lasts else 0

    def gaps(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The ranges within ``first`` to ``last`` whose numbers are missing here, ascending."""
        for start, end in self:
            if end < first:
                continue
            if start > last:
                break
            if first < start:
                yield first, start - 1
            first = max(first, end + 1)
        if first <= last:
            yield first, last
