"""The store on its disk: there before anyone hears of it, and back on its feet after whatever a disk does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edge_agent import database
from edge_agent import store as store_module
from edge_agent.config import StoreConfig
from edge_agent.errors import StoreError
from edge_agent.store import open_store
from tests.clocks import SteppedClock
from tests.programs import require
from tests.stores import away, config_for, deliver, numbers, opened
from tests.windows import make_report

# -- a disk's moods --------------------------------------------------------------------------------------------------


def damaged_files(directory: Path) -> list[str]:
    return sorted(
        p.name for p in directory.iterdir() if ".damaged-" in p.name and not p.name.endswith(("-wal", "-shm"))
    )


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "windows.sqlite").write_bytes(b"this is no database at all" * 400)
    with opened(config_for(tmp_path)) as store:
        assert not store.in_memory
        stored = store.append(make_report(1))
        assert numbers(store) == [stored.seq]
    (aside,) = damaged_files(tmp_path)
    assert (tmp_path / aside).read_bytes().startswith(b"this is no database")


def test_numbers_go_on_above_any_earlier_one_when_the_file_is_lost(tmp_path: Path) -> None:
    with opened(config_for(tmp_path)) as store:
        last = [store.append(make_report(n)).seq for n in range(5)][-1]
    (tmp_path / "windows.sqlite").write_bytes(b"x" * 10_000)
    with opened(config_for(tmp_path), "s2") as store:
        assert store.append(make_report(6)).seq > last
        assert store.stats().pending == 1


def corrupt_pages(path: Path, first: int, last: int) -> None:
    with path.open("r+b") as file:
        file.seek(first * 4096)
        file.write(b"\xde\xad\xbe\xef" * 1024 * (last - first))


def test_of_a_file_with_broken_pages_the_rest_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "windows.sqlite"
    with opened(config_for(tmp_path)) as store:
        for number in range(1000):
            store.append(make_report(number % 7))
        deliver(store, range(1, 101))
        store.paused = True
    corrupt_pages(path, 60, 63)
    with opened(config_for(tmp_path), "s2") as store:
        seen = [s.seq for s in store.history()]
        new = store.append(make_report(1)).seq
        again = [s.seq for s in store.history()]
        assert store.stats().dropped["damage"] == 1001 - len(again)
    assert damaged_files(tmp_path)
    assert seen[0] == again[0] == 1
    assert again[-2:] == [1000, new]
    assert len(again) > 900
    assert store.paused


@pytest.mark.parametrize("where", ["middle", "beginning"])
def test_what_a_file_found_damaged_at_the_start_has_lost_counts_as_lost_and_not_as_waiting(
    tmp_path: Path, where: str
) -> None:
    path = tmp_path / "windows.sqlite"
    with opened(config_for(tmp_path)) as store:
        for number in range(2000):
            store.append(make_report(number % 7))
        deliver(store, range(1, 101))
    middle = path.stat().st_size // 2 // 4096
    corrupt_pages(path, *{"middle": (middle, middle + 5), "beginning": (2, 50)}[where])
    with opened(config_for(tmp_path), "s2") as store:
        assert damaged_files(tmp_path), "the damage is found while the file is opened"
        waiting = numbers(store)
        assert 1000 < len(waiting) < 1900
        assert store.stats().pending == len(waiting)
        assert store.stats().dropped == {"damage": 1900 - len(waiting)}
        copy = tmp_path / "copy"
        copy.mkdir()
        for file in tmp_path.glob("windows.sqlite*"):
            shutil.copy(file, copy)
    for folder in (tmp_path, copy):  # after a stop and after a power cut
        with opened(config_for(folder), "s3") as store:
            store.append(make_report(1))
            assert store.stats().pending == len(waiting) + 1


def test_a_page_that_breaks_while_running_costs_no_new_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "windows.sqlite"
    # The default cache would hold this small file whole, and the damage would not be seen.
    monkeypatch.setattr(database, "_PRAGMAS", database._PRAGMAS.replace("cache_size=-1024", "cache_size=5"))
    with opened(config_for(tmp_path)) as store:
        for number in range(1000):
            store.append(make_report(number % 7))
        before = path.stat().st_size // 4096
        corrupt_pages(path, 3, before - 1)
        new = [store.append(make_report(number)).seq for number in range(600)]
        assert [s.seq for s in store.history()][-600:] == new
        assert set(new) <= set(numbers(store))
        assert not store.in_memory
        assert store.stats().pending == len(numbers(store))
    assert damaged_files(tmp_path)
    with opened(config_for(tmp_path), "s2") as store:
        assert store.stats().pending == len(numbers(store)), "what was lost does not wait for ever"


def test_a_row_that_cannot_be_decoded_is_dropped_alone(tmp_path: Path) -> None:
    with opened(config_for(tmp_path)) as store:
        for number in range(5):
            store.append(make_report(number))
    with closing(sqlite3.connect(tmp_path / "windows.sqlite")) as file, file:
        file.execute("UPDATE windows SET shares='[[1,' WHERE seq=3")
    with opened(config_for(tmp_path), "s2") as store:
        assert store.buckets(datetime(2026, 1, 1, tzinfo=timezone.utc), datetime.now(timezone.utc), 3600)
        assert numbers(store) == [1, 2, 4, 5]
        assert store.stats().dropped == {"damage": 1}


def test_a_file_that_is_deleted_while_in_use_is_written_anew(tmp_path: Path) -> None:
    with opened(config_for(tmp_path)) as store:
        for number in range(5):
            store.append(make_report(number))
        for path in tmp_path.glob("windows.sqlite*"):
            path.unlink()
        store.append(make_report(6))
        assert numbers(store) == [1, 2, 3, 4, 5, 6]
    with opened(config_for(tmp_path), "s2") as store:
        assert numbers(store) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("with_log", [False, True], ids=["alone", "with its log"])
def test_a_file_that_is_replaced_while_in_use_is_set_aside_and_ours_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, with_log: bool
) -> None:
    backup = tmp_path / "backup"
    with opened(config_for(backup), "old") as other:
        other.append(make_report(1))
        if with_log:
            (copy := tmp_path / "copy").mkdir()
            for file in backup.glob("windows.sqlite*"):
                shutil.copy(file, copy)
            backup = copy
    config = config_for(tmp_path / "data")
    with opened(config) as store:
        for number in range(5):
            store.append(make_report(number))
        for file in backup.glob("windows.sqlite*"):
            if not file.name.endswith((".lock", "-shm")):
                file.replace(config.path.parent / file.name)
        store.append(make_report(6))
        assert not store.in_memory
        assert numbers(store) == [1, 2, 3, 4, 5, 6]
    with opened(config, "s2") as store:
        assert numbers(store) == [1, 2, 3, 4, 5, 6]
    (aside,) = (path for path in config.path.parent.glob("*.replaced-*") if not path.name.endswith(("-wal", "-shm")))
    assert aside.name in caplog.text
    with closing(sqlite3.connect(aside)) as file:
        assert file.execute("SELECT session FROM windows JOIN runs ON runs.id = run").fetchall() == [("old",)]


def test_a_file_that_is_replaced_while_windows_are_in_memory_costs_none(small_disk: Path) -> None:
    clock = SteppedClock()
    with opened(config_for(small_disk / "other"), "s0"):
        pass
    with opened(config_for(small_disk), clock=clock) as store:
        store.append(make_report(1))
        ballast = fill(small_disk)
        while not store.in_memory:
            last = store.append(make_report(2)).seq
        ballast.unlink()
        (small_disk / "other" / "windows.sqlite").replace(small_disk / "windows.sqlite")
        clock.forward_s = 20
        store.append(make_report(3))
        assert not store.in_memory
    with opened(config_for(small_disk), "s2") as store:
        assert numbers(store) == list(range(1, last + 2))


def test_of_damaged_files_the_newest_two_stay(tmp_path: Path) -> None:
    path = tmp_path / "windows.sqlite"
    for number in range(4):
        path.write_bytes(b"%d is no database at all" % number * 400)
        (tmp_path / "windows.sqlite-wal").write_bytes(b"%d" % number)
        with opened(config_for(tmp_path)):
            pass
    kept = damaged_files(tmp_path)
    assert [(tmp_path / name).read_bytes()[:1] for name in kept] == [b"2", b"3"]
    logs = {p.name for p in tmp_path.glob("*.damaged-*-wal")}
    assert logs <= {f"{name}-wal" for name in kept}


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
    """Without a clock of its own a machine boots at the same time of day again and again, or a little later."""
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """The file that leaves no room on the disk."""
    ballast = folder / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True, check=False)
    return ballast


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


@pytest.mark.parametrize("found", ["by a reader", "by a reader while there is no room to heal", "on the way back"])
def test_damage_that_shows_while_windows_are_in_memory_costs_only_what_it_hit(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    monkeypatch.setattr(database, "_PRAGMAS", database._PRAGMAS.replace("cache_size=-1024", "cache_size=5"))
    clock = SteppedClock()
    with opened(config_for(small_disk)) as store:
        for number in range(200):
            store.append(make_report(number % 7))
    with opened(config_for(small_disk), "s2", clock) as store:
        ballast, mine = fill(small_disk), []
        while not store.in_memory:
            mine.append(store.append(make_report(1)).seq)
        corrupt_pages(config_for(small_disk).path, 8, 20)
        if found == "by a reader":
            ballast.unlink()
        if found != "on the way back":
            assert mine[-1] in [stored.seq for stored in store.history()]
        ballast.unlink(missing_ok=True)
        for clock.forward_s in (20, 40):
            mine.append(store.append(make_report(2)).seq)
        assert damaged_files(small_disk)
        assert not store.in_memory
        waiting = numbers(store)
        assert waiting[0] == 1
        assert set(mine[-3:]) <= set(waiting)
        assert store.stats().pending == len(waiting)
        assert store.stats().dropped == {"damage": 200 + len(mine) - len(waiting)}


def test_what_can_be_read_of_a_damaged_file_is_saved_although_there_is_room_only_later(small_disk: Path) -> None:
    path, clock = config_for(small_disk).path, SteppedClock()
    with opened(config_for(small_disk)) as store:
        for number in range(200):
            store.append(make_report(number % 7))
    corrupt_pages(path, 8, 20)
    ballast = fill(small_disk)
    os.truncate(ballast, ballast.stat().st_size - 100_000)
    with opened(config_for(small_disk), "s2", clock) as store:
        assert store.in_memory
        mine = store.append(make_report(1)).seq
        ballast.unlink()
        clock.forward_s = 20
        store.flush()
        assert not store.in_memory
        waiting = numbers(store)
        assert (waiting[0], waiting[-2:]) == (1, [200, mine])
        assert store.stats().pending == len(waiting)
        assert store.stats().dropped == {"damage": 201 - len(waiting)}


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
from tests.windows import make_report
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
