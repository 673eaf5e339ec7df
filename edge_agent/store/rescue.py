"""Saves from a damaged store, or one of an earlier version, every window that is whole somewhere in its pages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from edge_agent.host.clock import from_epoch_ms
from edge_agent.store.database import Database, State
from edge_agent.store.file import Held
from edge_agent.store.pages import INDEX_LEAF, Record, records
from edge_agent.store.ranges import Ranges
from edge_agent.store.rows import intact_row
from edge_agent.types import RollingShares, Shares, StoredWindow, WindowReport


def rescue(damaged: Held, fresh: Database) -> None:
    """Fill ``fresh`` with the windows that can be read of ``damaged`` and with what it knew of deliveries and a pause.

    No order of pages, no index and no table's root is needed: every page is read, of the file and of its log, and what
    has the right checksum counts. Windows may be found twice, since a log repeats pages; the later copy has true time.

    Raises:
        sqlite3.Error: ``fresh`` cannot be written.
        OSError: nothing at all can be read.
    """
    found, indexed, states, old = Ranges(), Ranges(), list[State](), _VersionOne()
    with fresh.transaction():
        for record in _read(damaged, indexed):
            number, values = record
            if row := intact_row(number, values):
                fresh.insert_row(row)
                found.add(number)
            elif len(values) == 6:
                states += _intact_state(record)
            else:
                old.learn(record)
        if old.runs:
            for record in _read(damaged, Ranges()):
                for stored in old.windows(record):
                    fresh.insert(stored.place, stored)
                    found.add(stored.place)
        fresh.save_state(_state(max([old.state(), *states], key=lambda state: state.version), found, indexed))


def _read(damaged: Held, indexed: Ranges) -> Iterator[Record]:
    """The records of all tables; the ids that the index over the windows' starts knows go into ``indexed``."""
    for page in damaged.pages():
        if page[0] != INDEX_LEAF:
            yield from records(page, damaged.page)
            continue
        for _, values in records(page, damaged.page, index=True):
            if len(values) == 2 and all(isinstance(value, int) and value > 0 for value in values):
                indexed.add(values[1])
            else:
                yield 0, values


def _state(told: State, found: Ranges, indexed: Ranges) -> State:
    """What waits, and up to where there were windows: some whose rows are gone are known to have been there."""
    settled = Ranges(told.settled)
    lowest = next((first for first, _ in [*found]), 1)
    if told.version == 0 and not settled.highest:  # nobody knows any more where the ids began
        settled.add(1, lowest - 1)
    highest = max(found.highest, settled.highest, told.highest)
    while highest + 1 in indexed:  # an id far above would be a wrong bit
        highest += 1
    return State(settled, highest, told.paused, told.version)


def _intact_state(record: Record) -> list[State]:
    number, (_, *values) = record
    try:
        return [State.from_row([number, *values])]
    except ValueError:
        return []


class _Run(NamedTuple):
    """A row of the first schema: what the windows of one run of the agent have in common."""

    session: str
    boot_id: str
    model: str
    names: str


class _VersionOne:
    """The first schema: what the windows of a run have in common was kept once, and nothing had a checksum."""

    def __init__(self) -> None:
        self.runs: dict[int, _Run] = {}
        self._settled = Ranges()
        self._paused = False

    def learn(self, record: Record) -> None:
        """Take what is no window."""
        number, values = record
        if len(values) == 5 and values[0] is None and all(isinstance(value, str) for value in values[1:]):
            self.runs[number] = _Run(*values[1:])
        elif len(values) == 2 and values[0] is None and isinstance(values[1], int):
            self._settled.add(number, values[1])
        elif values == ["paused", "1"]:
            self._paused = True

    def state(self) -> State:
        """Version 0: one of the present schema is newer."""
        return State(self._settled, 0, self._paused)

    def windows(self, record: Record) -> Iterator[StoredWindow]:
        """The window, if the record is one that can be decoded."""
        number, values = record
        if len(values) == 13 and values[0] is None and values[1] in self.runs:
            try:
                yield self._window(number, values, self.runs[values[1]])
            except (ValueError, TypeError, KeyError, IndexError, OverflowError):
                return

    def _window(self, number: int, values: Sequence[Any], run: _Run) -> StoredWindow:
        start_ms, monotonic_s, window_s, synced, frames, faces, people, suppressed, gated, shares, rolling = values[2:]
        labels = run.names.split(",")
        report = WindowReport(
            window_start=from_epoch_ms(start_ms),
            start_monotonic_s=float(monotonic_s),
            window_s=float(window_s),
            frames=frames,
            faces=faces,
            people=people,
            suppressed=bool(suppressed),
            shares=None if shares is None else _shares(json.loads(shares), labels),
            gated=None if gated is None else json.loads(gated),
            rolling=None if rolling is None else _rolling(json.loads(rolling), labels),
        )
        return StoredWindow(run.session, number, report, bool(synced), run.model, run.boot_id, number)


def _shares(value: Sequence[Any], labels: Sequence[str]) -> Shares:
    best, raw, intervals, method, people = value

    def named(values: Sequence[Any]) -> Mapping[str, Any]:
        return dict(zip(labels, values, strict=True))

    return Shares(named(best), named(raw), named([(low, high) for low, high in intervals]), method, people)


def _rolling(value: Sequence[Any], labels: Sequence[str]) -> RollingShares:
    span_s, shares = value
    return RollingShares(span_s, None if shares is None else _shares(shares, labels))
