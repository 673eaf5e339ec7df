"""Reads records from the pages of an SQLite file without SQLite, where the way to them is damaged.

The format is at https://www.sqlite.org/fileformat2.html. In short: a file is a row of pages. A *leaf* page of a table
holds records; all other pages only lead to it. SQLite finds a record by its way through those, so one bad page costs it
everything behind that page. Here every page is tried as a leaf, in whatever order, and who calls checks each record.

An example: a leaf of 1,024 bytes with one record, whose id is 7 and whose columns are (the id), "s1", 300::

    0D 0000 0001 03F6 00      leaf of a table; no free block; 1 cell; cells begin at byte 0x3F6; no fragments
    03F6                      pointer to the cell
    ...
    08 07                     (at 0x3F6) the record has 8 bytes, its id is 7
    04 00 11 02               its head has 4 bytes: NULL for the id, a text of 2 bytes (0x11 = 13 + 2 * 2), 2 bytes
    7331 012C                 "s1", 300

A record that is too long for its page continues in a chain of *overflow* pages, each of which begins with the number of
the next.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

APPLICATION_ID = 0x436E7463
"""SQLite's magic number that tells our file from a stranger's: "Cntc"."""
PAGE = 1024
"""Bytes of a page in every file of ours."""
TABLE_LEAF, INDEX_LEAF = 0x0D, 0x0A
_LOCAL = PAGE - 35
"""A record up to this long is in its page as a whole."""
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
"""Bytes of an integer by its serial type."""

Record = tuple[int, list[Any]]
"""(id, values); the id is 0 in an index."""
FetchPage = Callable[[int], bytes]
"""The page of this number, the first is 1; empty when there is none."""

_LONGEST = 1 << 16
"""No record of ours is longer; a damaged one may claim to be."""
_UNREADABLE = (IndexError, KeyError, struct.error, ValueError)


def records(page: bytes, fetch: FetchPage, *, index: bool = False) -> Iterator[Record]:
    """What can be read if this is a leaf of a table, or of an index; what cannot is passed over."""
    for at in range(8, min(8 + 2 * int.from_bytes(page[3:5], "big"), PAGE), 2):
        try:
            yield _cell(page, int.from_bytes(page[at : at + 2], "big"), fetch, index=index)
        except _UNREADABLE:
            continue


def _cell(page: bytes, at: int, fetch: FetchPage, *, index: bool) -> Record:
    length, at = _varint(page, at)
    if length > _LONGEST:
        raise ValueError("no record of ours")
    number = 0
    if not index:
        number, at = _varint(page, at)
    if length <= _LOCAL:
        return number, _values(page[at : at + length])
    least = (PAGE - 12) * 32 // 255 - 23
    local = least + (length - least) % (PAGE - 4)
    local = local if local <= _LOCAL else least
    record, next_page = page[at : at + local], int.from_bytes(page[at + local : at + local + 4], "big")
    while next_page and len(record) < length:
        more = fetch(next_page)
        if not more:
            raise ValueError("the chain is broken")
        record, next_page = record + more[4:], int.from_bytes(more[:4], "big")
    return number, _values(record[:length])


def _values(record: bytes) -> list[Any]:
    size, at = _varint(record, 0)
    body, values = size, []
    while at < size:
        kind, at = _varint(record, at)
        value, body = _value(record, kind, body)
        values.append(value)
    return values


def _value(record: bytes, kind: int, at: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        end = at + _INTEGERS[kind]
        return int.from_bytes(record[at:end], "big", signed=True), end
    if kind == 7:
        return struct.unpack_from(">d", record, at)[0], at + 8
    if kind < 12:
        return {0: None, 8: 0, 9: 1}[kind], at
    end = at + (kind - 12) // 2
    if end > len(record):
        raise ValueError("a text beyond the end")
    return record[at:end].decode(errors="replace"), end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1 to 9 bytes, seven bits in each but the ninth; and where it ends."""
    number = 0
    for count in range(8):
        byte = data[at + count]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, at + count + 1
    return number << 8 | data[at + 8], at + 9
