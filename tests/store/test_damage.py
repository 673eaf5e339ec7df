"""A store whose file is damaged, deleted or replaced: what can be read is saved, and what is lost is counted."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge_agent.store import database, disk
from tests.support.clocks import SteppedClock
from tests.support.stores import buckets, config_for, corrupt_pages, damaged_files, deliver, fill, numbers, opened
from tests.support.windows import make_report


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that has much else to do saving takes longer, too."""
    monkeypatch.setattr(disk, "PATIENCE_S", 60.0)


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "windows.sqlite").write_bytes(b"this is no database at all" * 400)
    with opened(config_for(tmp_path)) as store:
        assert not store.in_memory
        stored = store.append(make_report(1))
        assert numbers(store) == [stored.seq]
    (aside,) = damaged_files(tmp_path)
    assert (tmp_path / aside).read_bytes().startswith(b"this is no database")


def test_of_a_file_with_broken_pages_the_rest_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "windows.sqlite"
    with opened(config_for(tmp_path)) as store:
        for number in range(1000):
            store.append(make_report(number % 7))
        deliver(store, range(1, 101))
        store.paused = True
    corrupt_pages(path, 60, 63)
    with opened(config_for(tmp_path), "s2") as store:
        store.append(make_report(1))
        waiting, kept = numbers(store), [stored.seq for stored in store.history()]
        assert (waiting[0], waiting[-2:], kept[0], kept[-2:]) == (101, [1000, 1], 1, [1000, 1])
        assert len(kept) > 950
        assert store.stats().dropped == {"damage": 901 - len(waiting)}
        assert store.paused
    assert damaged_files(tmp_path)


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
        waiting = numbers(store)
        assert damaged_files(tmp_path)
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


@pytest.mark.parametrize("value", ["'[[1,'", "CAST(x'5BFF5D' AS TEXT)", "NULL", "77"])
@pytest.mark.parametrize("column", ["shares", "people", "seq", "crc", "labels"])
def test_a_window_with_a_wrong_value_is_dropped_alone_and_counted(tmp_path: Path, column: str, value: str) -> None:
    with opened(config_for(tmp_path)) as store:
        for number in range(5):
            store.append(make_report(number))
    with closing(sqlite3.connect(tmp_path / "windows.sqlite")) as file, file:
        file.execute(f"UPDATE windows SET {column}={value} WHERE id=3")
    with opened(config_for(tmp_path), "s2") as store:
        (bucket,) = buckets(store, datetime(2026, 1, 1, tzinfo=timezone.utc), datetime.now(timezone.utc), 366 * 86400)
        assert bucket.windows == 4
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
        assert file.execute("SELECT session FROM windows").fetchall() == [("old",)]


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
        assert not store.in_memory
        waiting = numbers(store)
        assert damaged_files(small_disk)
        assert waiting[0] == 1
        assert waiting[-len(mine) :] == mine
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
        assert (waiting[0], waiting[-2:], mine) == (1, [200, 1], 1)
        assert store.stats().pending == len(waiting)
        assert store.stats().dropped == {"damage": 201 - len(waiting)}


CUT = """
import os, sys
from pathlib import Path
from tests.support.stores import config_for, opened
left, rename = int(sys.argv[2]), Path.replace
def replace(old, new):
    global left
    left -= old.exists()
    if left < 0:
        os._exit(9)
    return rename(old, new)
Path.replace = replace
with opened(config_for(Path(sys.argv[1])), "s2"):
    pass
"""


@pytest.mark.parametrize("renames", range(5))
def test_a_power_cut_while_a_damaged_file_is_set_aside_costs_only_what_the_damage_did(
    tmp_path: Path, renames: int
) -> None:
    """Before each of the renames that it takes, and after the last."""
    with opened(config_for(tmp_path)) as store:
        for number in range(600):
            store.append(make_report(number % 7))
        store.paused = True
    path = config_for(tmp_path).path
    corrupt_pages(path, path.stat().st_size // 4096 - 4, path.stat().st_size // 4096)
    cut = subprocess.run([sys.executable, "-c", CUT, str(tmp_path), str(renames)], cwd=Path(__file__).parents[2])
    assert cut.returncode in (0, 9)
    with opened(config_for(tmp_path), "s3") as store:
        assert store.paused
        kept = len(numbers(store))
        assert 400 < kept < 600
        assert store.stats().pending == len(list(store.history())) == kept
    assert len(damaged_files(tmp_path)) == 1
    assert not [*tmp_path.glob("*.copy*"), *tmp_path.glob("*.rescued*")]


@pytest.mark.parametrize("room_kib", range(0, 120, 12))
def test_however_little_room_there_is_no_readable_window_of_a_damaged_file_is_lost(
    small_disk: Path, room_kib: int
) -> None:
    with opened(config_for(small_disk)) as store:
        for number in range(200):
            store.append(make_report(number % 7))
    corrupt_pages(config_for(small_disk).path, 8, 10)
    ballast, clock = fill(small_disk), SteppedClock()
    os.truncate(ballast, ballast.stat().st_size - room_kib * 1024)
    with opened(config_for(small_disk), "s2", clock) as store:
        ballast.unlink()
        for clock.forward_s in (20, 40):
            store.append(make_report(1))
        assert not store.in_memory
        kept = len(list(store.history())) - 2
        assert 100 < kept < 200
        assert store.stats().dropped["damage"] == 200 - kept


def test_a_pause_outlives_the_damage_of_the_page_that_held_it(tmp_path: Path) -> None:
    """While paused no window closes that would write it again."""
    path = config_for(tmp_path).path
    with opened(config_for(tmp_path)) as store:
        for number in range(600):
            store.append(make_report(number % 7))
    with opened(config_for(tmp_path), "s2") as store:
        store.paused = True
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (size,) = other.execute("PRAGMA page_size").fetchone()
            pages = other.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'state' "
                "UNION SELECT pageno FROM dbstat WHERE name = 'windows_start' AND pagetype = 'leaf'"
            ).fetchall()
        with path.open("r+b") as file:
            for (page,) in pages:
                file.seek((page - 1) * size)
                file.write(b"\xff" * size)
        store._disk.file._sql.execute("PRAGMA shrink_memory")  # as time does: what was read is read again
        assert len(list(store.history())) == 600
        assert damaged_files(tmp_path)
    with opened(config_for(tmp_path), "s3") as store:
        assert store.paused
