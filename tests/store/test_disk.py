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
from edge_agent.store import open_store
from edge_agent.store import store as store_module
from tests.support.clocks import SteppedClock
from tests.support.programs import require
from tests.support.stores import away, config_for, deliver, fill, keys, numbers, opened
from tests.support.windows import make_report

# -- a disk's moods --------------------------------------------------------------------------------------------------


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
        store.append(make_report(4))
        assert keys(store.pending()) == [("s2", 1)]
        folder.unlink()
        (tmp_path / "away").rename(folder)
        clock.forward_s = 20
        store.append(make_report(5))
        assert keys(store.pending()) == [("s1", 2), ("s1", 3), ("s2", 1), ("s2", 2)]


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


def test_windows_of_a_session_that_began_without_its_disk_keep_their_numbers(tmp_path: Path) -> None:
    """A key is one window's for ever, whatever the disk holds once it is there."""
    config, clock = config_for(tmp_path / "data"), SteppedClock()
    with opened(config) as store:
        first = keys(store.append(make_report(n % 5)) for n in range(400))
    with away(tmp_path / "data"):
        store = open_store(config, "s2", clock=clock)
        mine = [store.append(make_report(n)) for n in range(4)]
        store.mark_delivered(mine[:1])
    clock.forward_s = 20
    store.flush()
    assert store.latest() == mine[-1]
    mine += [store.append(make_report(n)) for n in range(5)]
    assert (store.in_memory, store.reason) == (False, "")
    assert [stored.seq for stored in mine] == list(range(1, 10))
    store.mark_delivered([*store.pending(limit=1), mine[1], mine[4]])
    expected = first[1:] + keys(mine[2:4] + mine[5:])
    assert keys(store.pending(limit=1000)) == expected
    assert len(list(store.history())) == 409
    store.close()
    with opened(config, "s3") as store:
        assert keys(store.pending(limit=1000)) == expected
        assert store.append(make_report(1)).seq == 1


def test_windows_of_a_late_file_on_a_disk_still_full_are_there_once(small_disk: Path) -> None:
    folder, clock = small_disk / "data", SteppedClock()
    with opened(config_for(folder)) as store:
        first = keys(store.append(make_report(n % 5)) for n in range(100))
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
    assert keys(store.pending(limit=1000)) == [*first, *keys(mine)]
    store.close()


def test_a_card_that_is_swapped_for_another_of_ours_gives_up_its_windows_and_gets_ours(tmp_path: Path) -> None:
    """What is under way of the first card must not count as delivered on the second."""
    folder, clock = tmp_path / "data", SteppedClock()
    for name in ("one", "two"):
        with opened(config_for(tmp_path / name), name) as store:
            for number in range(3 if name == "one" else 5):
                store.append(make_report(number))
    (tmp_path / "one").rename(folder)
    with opened(config_for(folder), "s3", clock) as store:
        under_way = store.pending(limit=1)
        folder.rename(tmp_path / "one")
        store._disk._let_go()  # as if nothing of the first could be read any more
        folder.write_text("")
        mine = store.append(make_report(1))
        folder.unlink()
        (tmp_path / "two").rename(folder)
        clock.forward_s = 20
        store.flush()
        store.mark_delivered(under_way)
        assert keys(store.pending()) == [*(("two", seq) for seq in range(1, 6)), ("s3", mine.seq)]


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
