"""The store on its disk: there before anyone hears of it, and back on its feet after whatever a disk does."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edge_agent.config import StoreConfig
from edge_agent.errors import StoreError
from edge_agent.store import database, open_store
from edge_agent.store import store as store_module
from tests.support.clocks import SteppedClock
from tests.support.programs import require
from tests.support.stores import away, config_for, deliver, fill, numbers, opened
from tests.support.windows import make_report

# -- a disk's moods --------------------------------------------------------------------------------------------------


def test_runs_whose_windows_are_gone_are_forgotten_once_they_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MANY_RUNS", 50)
    config = config_for(tmp_path, max_rows=100)
    for number in range(150):
        with opened(config, f"session-{number}") as store:
            store.append(make_report(number))
            store.append(make_report(number, people=0))
    with opened(config, "last") as store:
        kept = list(store.history())
        assert kept[-1].session == "session-149"
        assert len(kept) == store.stats().rows >= 36
    with closing(sqlite3.connect(config.path)) as file:
        runs = [session for (session,) in file.execute("SELECT session FROM runs")]
    assert set(runs) == {stored.session for stored in kept}


def test_two_agents_do_not_share_a_file(tmp_path: Path) -> None:
    with opened(config_for(tmp_path)), pytest.raises(StoreError, match="another running agent"):
        open_store(config_for(tmp_path), "s2")


def test_a_folder_a_stranger_and_a_newer_version_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="folder"):
        open_store(StoreConfig(path=tmp_path), "s")
    stranger = sqlite3.connect(tmp_path / "other.sqlite")
    stranger.execute("CREATE TABLE precious(data)")
    stranger.commit()
    with pytest.raises(StoreError, match="another program"):
        open_store(StoreConfig(path=tmp_path / "other.sqlite"), "s")
    assert stranger.execute("SELECT count(*) FROM precious").fetchone() == (0,)
    stranger.close()
    with opened(config_for(tmp_path)):
        pass
    newer = sqlite3.connect(tmp_path / "windows.sqlite")
    newer.execute("PRAGMA user_version=99")
    newer.close()
    with pytest.raises(StoreError, match="newer version"):
        open_store(config_for(tmp_path), "s")


def test_a_folder_that_cannot_be_made_means_memory_and_is_recovered_from(tmp_path: Path) -> None:
    blocker = tmp_path / "blocked"
    blocker.write_text("a file where the folder should be")
    clock = SteppedClock()
    with opened(StoreConfig(path=blocker / "windows.sqlite"), clock=clock) as store:
        assert store.in_memory
        assert "blocked" in store.reason
        first = store.append(make_report(1)).seq
        deliver(store, [first])
        second = store.append(make_report(2)).seq
        blocker.unlink()
        assert store.in_memory
        clock.forward_s = 20
        third = store.append(make_report(3)).seq
        assert not store.in_memory
        assert store.reason == ""
        assert [s.seq for s in store.history()] == [first, second, third]
        assert numbers(store) == [second, third]
    with opened(StoreConfig(path=blocker / "windows.sqlite"), "s2") as store:
        assert numbers(store) == [second, third]


def test_windows_in_memory_get_to_the_disk_while_no_window_closes(tmp_path: Path) -> None:
    blocker = tmp_path / "blocked"
    blocker.write_text("a file where the folder should be")
    clock = SteppedClock()
    with opened(StoreConfig(path=blocker / "windows.sqlite"), clock=clock) as store:
        first = store.append(make_report(1)).seq
        blocker.unlink()
        store.flush()
        assert store.in_memory, "it was tried just now"
        clock.forward_s = 16
        store.flush()
        assert not store.in_memory
        assert numbers(store) == [first]


def test_windows_waiting_in_a_file_that_was_unreadable_at_the_start_are_sent_later(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    config = config_for(folder)
    with opened(config) as store:
        for number in range(3):
            store.append(make_report(number))
        deliver(store, [1])
    folder.rename(tmp_path / "away")
    folder.write_text("")
    clock = SteppedClock()
    with opened(config, "s2", clock) as store:
        mine = store.append(make_report(4)).seq
        assert numbers(store) == [mine]
        folder.unlink()
        (tmp_path / "away").rename(folder)
        clock.forward_s = 20
        next_one = store.append(make_report(5)).seq
        assert numbers(store) == [2, 3, mine, next_one]


def test_windows_waiting_in_a_late_file_are_sent_although_none_closed_meanwhile(tmp_path: Path) -> None:
    folder, clock = tmp_path / "data", SteppedClock()
    with opened(config_for(folder)) as store:
        store.append(make_report(1))
    with away(folder):
        late = open_store(config_for(folder), "s2", clock=clock)
    clock.forward_s = 20
    late.flush()
    assert not late.in_memory
    mine = late.append(make_report(2)).seq
    assert numbers(late) == [1, mine]
    late.close()


@pytest.mark.parametrize(("resumed", "paused"), [(False, True), (True, False)])
def test_a_pause_that_a_late_disk_brings_holds_unless_somebody_resumed_meanwhile(
    tmp_path: Path, resumed: bool, paused: bool
) -> None:
    folder, clock = tmp_path / "data", SteppedClock()
    with opened(config_for(folder)) as store:
        store.paused = True
    with away(folder):
        late = open_store(config_for(folder), "s2", clock=clock)
        assert not late.paused
        if resumed:
            late.paused = False
    clock.forward_s = 20
    late.append(make_report(1))
    assert not late.in_memory
    assert late.paused is paused
    late.close()
    with opened(config_for(folder), "s3") as store:
        assert store.paused is paused


def test_a_late_disk_with_a_file_in_use_or_of_another_program_is_left_alone_until_it_is_ours(tmp_path: Path) -> None:
    folder, clock = tmp_path / "data", SteppedClock()
    with away(folder):
        late = open_store(config_for(folder), "s1", clock=clock)
        mine = late.append(make_report(1)).seq
    with opened(config_for(folder), "s2") as other:
        other.append(make_report(2))
        clock.forward_s = 20
        late.flush()
        assert "another running agent" in late.reason
    path = config_for(folder).path
    path.rename(tmp_path / "ours")
    with closing(sqlite3.connect(path)) as stranger:
        stranger.execute("CREATE TABLE precious(data)")
    clock.forward_s = 40
    late.flush()
    assert "another program" in late.reason
    assert numbers(late) == [mine]
    (tmp_path / "ours").replace(path)
    clock.forward_s = 60
    late.flush()
    assert not late.in_memory
    assert len(numbers(late)) == 2
    late.close()


def test_windows_waiting_in_a_late_file_get_their_true_time_once_it_is_there(tmp_path: Path) -> None:
    folder, clock = tmp_path / "data", SteppedClock()
    clock.off = timedelta(hours=-1)
    with opened(config_for(folder), clock=clock) as store:
        store.append(make_report(1, clock.wall()))
    clock.off, clock.synced = timedelta(0), True
    with away(folder):
        late = open_store(config_for(folder), "s2", clock=clock)
        late.append(make_report(2))
    clock.forward_s = 20
    assert [stored.clock_synced for stored in late.history()] == [True]
    late.flush()
    first, _ = late.history()
    assert first.clock_synced
    assert abs(first.report.window_start - datetime.now(timezone.utc)) < timedelta(seconds=12)
    late.close()


def booted(boot: str, late_s: float = 0.0) -> SteppedClock:
    """Without a built-in clock a machine boots at the same time of day again and again, or a little later."""
    clock = SteppedClock(boot=boot)
    clock.off = datetime(2024, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=late_s) - datetime.now(timezone.utc)
    return clock


@pytest.mark.parametrize("late_s", [-0.5, 0.0, 0.05, 0.5], ids=lambda late_s: f"{late_s:+g} s")
def test_numbers_that_two_boots_without_a_clock_gave_out_cost_no_window(tmp_path: Path, late_s: float) -> None:
    config = config_for(tmp_path / "data")
    with away(tmp_path / "data"):
        store = open_store(config, "s1", clock=booted("boot-1"))
    first = [store.append(make_report(n % 5)) for n in range(400)]
    store.close()
    clock = booted("boot-2", late_s)
    with away(tmp_path / "data"):
        store = open_store(config, "s2", clock=clock)
        before = [store.append(make_report(n)) for n in range(4)]
        store.mark_delivered(before[:1])
    clock.forward_s = 20
    store.flush()
    latest = store.latest()
    assert latest is not None
    assert latest.seq == store.number_now("s2", before[-1].seq) == store.last_seq
    after = [store.append(make_report(n)) for n in range(5)]
    assert (store.in_memory, store.reason) == (False, "")
    assert not {stored.seq for stored in before} & {stored.seq for stored in after}, "a key is one window's for ever"
    store.mark_delivered([before[1], first[0], after[0]])
    now = [store.number_now(stored.session, stored.seq) for stored in before]
    expected = [stored.seq for stored in first[1:]] + now[2:] + [stored.seq for stored in after[1:]]
    assert numbers(store) == expected
    assert expected == sorted(expected), "what was measured later has higher numbers"
    assert store.latest() == after[-1]
    assert len(list(store.history())) == 409
    store.close()
    with opened(config, "s3", booted("boot-3", late_s)) as store:
        assert numbers(store) == expected
        assert store.append(make_report(1)).seq == after[-1].seq + 1


def test_a_window_that_was_renumbered_for_a_disk_still_full_is_there_once(small_disk: Path) -> None:
    folder = small_disk / "data"
    with away(folder):
        store = open_store(config_for(folder), "s1", clock=booted("boot-1"))
    first = [store.append(make_report(n % 5)).seq for n in range(100)]
    store.close()
    clock = booted("boot-2")
    with away(folder):
        store = open_store(config_for(folder), "s2", clock=clock)
        mine = [store.append(make_report(n % 5)) for n in range(100)]
    ballast = fill(small_disk)
    for clock.forward_s in (20, 40):
        mine.append(store.append(make_report(1)))
        assert store.in_memory
    ballast.unlink()
    clock.forward_s = 60
    store.flush()
    assert not store.in_memory
    assert numbers(store) == [*first, *(store.number_now(stored.session, stored.seq) for stored in mine)]
    store.close()


def test_memory_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MEMORY_ROWS", 100)
    (tmp_path / "f").write_text("")
    with opened(StoreConfig(path=tmp_path / "f" / "w.sqlite")) as store:
        for number in range(150):
            store.append(make_report(number % 5))
        assert store.stats().rows <= 100
        assert store.stats().dropped == {"memory": 64}


def test_a_full_disk_means_memory_and_is_recovered_from(small_disk: Path) -> None:
    clock = SteppedClock()
    with opened(config_for(small_disk), clock=clock) as store:
        before = [store.append(make_report(n % 5)).seq for n in range(50)]
        ballast = fill(small_disk)
        full = [store.append(make_report(n % 5)).seq for n in range(100)]
        assert store.in_memory
        assert "full" in store.reason or "disk I/O" in store.reason
        deliver(store, before[:10] + full[:-20])
        assert numbers(store) == before[10:] + full[-20:]
        full.append(store.append(replace(make_report(3, people=0), rolling=None)).seq)  # without labels: another run
        clock.forward_s = 20
        full.append(store.append(make_report(3)).seq)
        assert store.in_memory, "an attempt to get back fails"
        assert [s.seq for s in store.history()] == [*before, *full], "what is in the file can be read meanwhile"
        ballast.unlink()
        clock.forward_s = 40
        last = store.append(make_report(1)).seq
        assert not store.in_memory
        assert [s.seq for s in store.history()] == [*before, *full, last]
        assert store.stats().rows == len(before) + len(full) + 1, "the attempts that failed do not count"
    with opened(config_for(small_disk), "s2") as store:
        assert numbers(store) == [*before[10:], *full[-22:], last]


def test_history_is_whole_and_in_order_while_memory_holds_windows_of_a_clock_that_fell_back(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "CHUNK", 20)
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
    with opened(config_for(small_disk)) as store:
        ahead = [store.append(make_report(n % 5, noon + timedelta(seconds=10 * n))) for n in range(50)]
        fill(small_disk)
        behind = [store.append(make_report(n % 5, noon + timedelta(seconds=5 * n - 100))) for n in range(100)]
        assert store.in_memory
        expected = sorted(ahead + behind, key=lambda stored: (stored.report.window_start, stored.seq))
        assert [s.seq for s in store.history()] == [s.seq for s in expected]


def test_a_disk_that_turns_read_only_means_memory_and_is_recovered_from(small_disk: Path) -> None:
    clock = SteppedClock()
    with opened(config_for(small_disk), clock=clock) as store:
        first = store.append(make_report(1)).seq
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with opened(config_for(small_disk), "s2", clock) as store:
        second = store.append(make_report(2)).seq
        assert store.in_memory
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        clock.forward_s = 20
        third = store.append(make_report(3)).seq
        assert not store.in_memory
        assert numbers(store) == [first, second, third]


# -- the disk has it -------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from edge_agent.config import StoreConfig
from edge_agent.store import open_store
from tests.support.windows import make_report
store = open_store(StoreConfig(path=Path(sys.argv[1])), "s")
for number in range(int(sys.argv[2])):
    seq = store.append(make_report(number % 5)).seq
    sys.stdout.write(f"STORED {seq}\\n")
    sys.stdout.flush()
"""


def test_a_window_is_synced_to_the_disk_before_anything_says_so(tmp_path: Path) -> None:
    strace, trace = require("strace", "strace"), tmp_path / "trace"
    command = [sys.executable, "-c", WRITER, str(tmp_path / "w.sqlite"), "5"]
    subprocess.run(
        [strace, "-f", "-y", "-e", "trace=fdatasync,fsync,pwrite64,write", "-o", str(trace), *command],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    events = [
        "say" if "STORED" in line else "sync" if "sync(" in line else "log"
        for line in trace.read_text(errors="replace").splitlines()
        if "STORED" in line or "w.sqlite-wal" in line
    ]
    says = [at for at, event in enumerate(events) if event == "say"]
    assert len(says) == 5
    assert all(events[at - 1] == "sync" for at in says), "the write-ahead log is synced last, right before"
    assert all("log" in events[start:end] for start, end in zip([0, *says], says, strict=False))


def test_the_folder_of_a_new_file_is_synced_before_anything_says_so(tmp_path: Path) -> None:
    """Without their entries in the folder a power cut would take the file and its log."""
    strace, trace, folder = require("strace", "strace"), tmp_path / "trace", tmp_path / "data"
    command = [sys.executable, "-c", WRITER, str(folder / "w.sqlite"), "1"]
    subprocess.run(
        [strace, "-f", "-y", "-e", "trace=fdatasync,fsync,openat,write", "-o", str(trace), *command],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    text = trace.read_text(errors="replace")
    made, said = text.index(f'"{folder}/w.sqlite-wal", O_RDWR|O_CREAT'), text.index("STORED")
    assert re.search(rf"sync\(\d+<{re.escape(str(folder))}>\)", text[made:said])


def test_a_killed_writer_leaves_every_window_it_told_of(tmp_path: Path) -> None:
    path = tmp_path / "w.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "100000"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    ) as process:
        assert process.stdout is not None
        told = [int(process.stdout.readline().split()[1]) for _ in range(300)]
        process.send_signal(signal.SIGKILL)
        told += [int(line.split()[1]) for line in process.stdout if line.endswith(b"\n")]
    with opened(StoreConfig(path=path), "s2") as store:
        assert set(told) <= set(numbers(store))
