"""The store against a model of it, through random sequences of what may happen to it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_agent.config import StoreConfig
from edge_agent.store import Store, open_store
from tests.support.clocks import SteppedClock
from tests.support.stores import away, keys
from tests.support.windows import make_report

MAX_ROWS = 100
REPORTS = [make_report(number, people=people) for number, people in enumerate((5, None, 0, 3))]


Key = tuple[str, int]


class StoreMachine(RuleBasedStateMachine):
    """``waiting`` must be found in the store; ``doubtful`` were delivered, but a power cut may have lost that."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = SteppedClock()
        self.lives = 0
        self.waiting: list[Key] = []
        self.doubtful: set[Key] = set()
        self.store = self.open()

    def open(self) -> Store:
        self.lives += 1
        self.seq = 0
        path = self.folder / "data" / "windows.sqlite"
        return open_store(StoreConfig(path=path, max_rows=MAX_ROWS), f"s{self.lives}", "m", clock=self.clock)

    @rule(count=st.integers(1, 25), which=st.integers(0, 3))
    def append(self, count: int, which: int) -> None:
        for _ in range(count):
            dropped = self.store.stats().dropped.get("rows", 0)
            stored = self.store.append(REPORTS[which])
            self.seq += 1
            assert stored.seq == self.seq
            gone = self.store.stats().dropped.get("rows", 0) - dropped
            self.waiting = [*self.waiting[gone:], (stored.session, stored.seq)]  # the oldest go

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        if self.waiting:
            chosen = data.draw(st.sets(st.sampled_from(self.waiting), max_size=30))
            self.store.mark_delivered([w for w in self.store.pending(limit=10_000) if (w.session, w.seq) in chosen])
            self.waiting = [key for key in self.waiting if key not in chosen]
            self.doubtful |= chosen

    @rule(seconds=st.integers(1, 200))
    def time_passes(self, seconds: int) -> None:
        self.clock.forward_s += seconds
        self.store.flush()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.doubtful.clear()
        self.store = self.open()
        assert self.pending() == self.waiting

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
        found = self.pending()
        assert set(self.waiting) <= set(found) <= set(self.waiting) | self.doubtful
        assert [key for key in found if key in self.waiting] == self.waiting
        self.waiting, self.doubtful = found, set()

    @rule(count=st.integers(0, 30), delivered=st.integers(0, 30))
    def late_disk(self, count: int, delivered: int) -> None:
        """It is there only after the start."""
        self.store.close()
        self.doubtful.clear()
        with away(self.folder / "data"):
            self.store = self.open()
            mine = [self.store.append(REPORTS[0]) for _ in range(count)]
            self.store.mark_delivered(mine[:delivered])
        self.seq = count
        self.clock.forward_s += 20
        self.store.flush()
        assert not self.store.in_memory
        self.waiting += keys(mine[delivered:])
        self.append(1, 0)

    @invariant()
    def what_waits_is_found(self) -> None:
        assert self.pending() == self.waiting
        assert self.store.stats().pending == len(self.waiting)
        assert self.store.stats().rows <= MAX_ROWS

    def pending(self) -> list[Key]:
        return keys(self.store.pending(limit=10_000))

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


StoreMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestStoreMachine = StoreMachine.TestCase
