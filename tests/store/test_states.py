"""The store against a model of it, through random sequences of what may happen to it."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.config import StoreConfig
from edge_agent.store import Store, open_store
from tests.support.clocks import SteppedClock
from tests.support.stores import away, deliver
from tests.support.windows import make_report

MAX_ROWS = 100
REPORTS = [make_report(number, people=people) for number, people in enumerate((5, None, 0, 3))]


class StoreMachine(RuleBasedStateMachine):
    """``waiting`` must be found in the store; ``doubtful`` were delivered, but a power cut may have lost that."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = SteppedClock()
        self.lives = 0
        self.waiting: set[int] = set()
        self.doubtful: set[int] = set()
        self.last = 0
        self.store = self.open()

    def open(self) -> Store:
        self.lives += 1
        path = self.folder / "data" / "windows.sqlite"
        return open_store(StoreConfig(path=path, max_rows=MAX_ROWS), f"s{self.lives}", "m", self.clock)

    @rule(count=st.integers(1, 25), which=st.integers(0, 3))
    def append(self, count: int, which: int) -> None:
        for _ in range(count):
            before = set(self.pending())
            dropped = self.store.stats().dropped.get("rows", 0)
            seq = self.store.append(REPORTS[which]).seq
            assert seq > self.last
            self.last = seq
            gone = before - set(self.pending())
            assert len(gone) == self.store.stats().dropped.get("rows", 0) - dropped
            assert all(number < min(set(self.pending())) for number in gone), "the oldest go"
            self.waiting = (self.waiting - gone) | {seq}

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        if self.waiting:
            numbers = data.draw(st.sets(st.sampled_from(sorted(self.waiting)), max_size=30))
            deliver(self.store, numbers)
            self.waiting -= numbers
            self.doubtful |= numbers

    @rule(seconds=st.integers(1, 200))
    def time_passes(self, seconds: int) -> None:
        self.clock.forward_s += seconds
        self.store.flush()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.doubtful.clear()
        self.store = self.open()
        assert set(self.pending()) == self.waiting

    @rule()
    def power_cut(self) -> None:
        """What is on the disk at this moment is all that is left."""
        copy = self.folder / "copy"
        path = self.folder / "data"
        shutil.copytree(path, copy)
        self.store.close()
        shutil.rmtree(path)
        copy.rename(path)
        self.store = self.open()
        found = set(self.pending())
        assert self.waiting <= found <= self.waiting | self.doubtful
        self.waiting, self.doubtful = found, set()

    @rule(count=st.integers(0, 30), delivered=st.integers(0, 30), behind_s=st.integers(0, 2))
    def late_disk(self, count: int, delivered: int, behind_s: int) -> None:
        """It is there only after the start, which was at the same time of day as the last such one, or just before."""
        self.store.close()
        self.doubtful.clear()
        self.clock.off = timedelta(0)
        self.clock.off = datetime(2024, 1, 1, tzinfo=timezone.utc) - timedelta(seconds=behind_s) - self.clock.wall()
        with away(self.folder / "data"):
            self.store = self.open()
            mine = [self.store.append(REPORTS[0]) for _ in range(count)]
            self.store.mark_delivered(mine[:delivered])
        self.clock.forward_s += 20
        self.store.flush()
        assert not self.store.in_memory
        self.waiting |= {self.store.number_now(each.session, each.seq) for each in mine[delivered:]}
        self.last = self.store.last_seq
        self.append(1, 0)

    @invariant()
    def what_waits_is_found(self) -> None:
        assert self.pending() == sorted(self.waiting)
        assert self.store.stats().pending == len(self.waiting)
        assert self.store.stats().rows <= MAX_ROWS

    def pending(self) -> list[int]:
        return [stored.seq for stored in self.store.pending(limit=10_000)]

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


StoreMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestStoreMachine = StoreMachine.TestCase
