"""The store: numbered, remembered, bounded, and on true time."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edge_agent.host.clock import epoch_ms
from edge_agent.store.database import Database
from edge_agent.types import StoredWindow
from tests.support.clocks import SteppedClock
from tests.support.stores import buckets, config_for, damaged_files, deliver, keys, numbers, opened
from tests.support.windows import make_report


@pytest.mark.parametrize("people", [5, 0, None], ids=["people", "nobody", "suppressed"])
def test_a_window_comes_back_as_it_was(tmp_path: Path, people: int | None) -> None:
    report = make_report(3, people=people)
    with opened(config_for(tmp_path)) as store:
        stored = store.append(report)
    with opened(config_for(tmp_path), "s2") as store:
        again = store.latest()
    assert again == stored
    assert again is not None
    assert (again.report, again.session, again.model) == (report, "s1", "m1")


def test_a_suppressed_window_keeps_no_figure_in_the_file(tmp_path: Path) -> None:
    with opened(config_for(tmp_path)) as store:
        store.append(make_report(1, people=None))
    with closing(sqlite3.connect(tmp_path / "windows.sqlite")) as file:
        rows = file.execute("SELECT faces, people, gated, shares FROM windows").fetchall()
    assert rows == [(None, None, None, None)]


def test_windows_are_numbered_from_1_in_each_session_and_kept_in_their_order(tmp_path: Path) -> None:
    for session in ("s2", "s1"):
        with opened(config_for(tmp_path), session) as store:
            assert [store.append(make_report(n)).seq for n in range(3)] == [1, 2, 3]
            waiting = keys(store.pending())
    assert waiting == [(session, seq) for session in ("s2", "s1") for seq in (1, 2, 3)]


def test_numbers_are_not_given_out_again_when_all_windows_were_dropped(tmp_path: Path) -> None:
    clock = SteppedClock(synced=True)
    with opened(config_for(tmp_path, max_age_days=1), clock=clock) as store:
        for number in range(3):
            store.append(make_report(number))
        clock.forward_s = 2 * 86400
        assert store.append(make_report(4, age_s=-clock.forward_s)).seq == 4
        assert numbers(store) == [4]


def test_many_threads_get_different_numbers(tmp_path: Path) -> None:
    with opened(config_for(tmp_path)) as store:
        threads = [threading.Thread(target=lambda: [store.append(make_report(n)) for n in range(20)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert numbers(store) == list(range(1, 161))


def test_only_delivered_windows_are_settled_and_stay_so(tmp_path: Path) -> None:
    with opened(config_for(tmp_path)) as store:
        for number in range(10):
            store.append(make_report(number))
        deliver(store, [1, 2, 5, 9])
        assert numbers(store) == [3, 4, 6, 7, 8, 10]
        assert numbers(store)[:3] == [s.seq for s in store.pending(limit=3)]
        fourth, eighth = store.pending()[1].place, store.pending()[4].place
        assert [s.seq for s in store.pending(after=fourth, before=eighth)] == [6, 7]
    with opened(config_for(tmp_path), "s2") as store:
        assert numbers(store) == [3, 4, 6, 7, 8, 10]
        assert store.stats().pending == 6


def test_marks_are_written_with_the_next_window_after_a_hundred_or_after_a_minute(tmp_path: Path) -> None:
    clock = SteppedClock()
    with opened(config_for(tmp_path), clock=clock) as store:
        for number in range(200):
            store.append(make_report(number % 5))
        deliver(store, [1])
        store.flush()
        assert settled_on_disk(tmp_path) == [], "a delivery costs no write of its own"
        store.append(make_report(2))
        assert settled_on_disk(tmp_path) == [(1, 1)]
        deliver(store, range(2, 102))
        store.flush()
        assert settled_on_disk(tmp_path) == [(1, 101)]
        deliver(store, [102])
        clock.forward_s = 61
        store.flush()
        assert settled_on_disk(tmp_path) == [(1, 102)]


def settled_on_disk(directory: Path) -> list[tuple[int, int]]:
    with closing(Database(directory / "windows.sqlite", read_only=True)) as file:
        return list(file.state.settled)


def test_a_pause_survives_a_restart(tmp_path: Path) -> None:
    with opened(config_for(tmp_path)) as store:
        assert not store.paused
        store.paused = True
    with opened(config_for(tmp_path)) as store:
        assert store.paused
        store.paused = False
    with opened(config_for(tmp_path)) as store:
        assert not store.paused


# -- history ---------------------------------------------------------------------------------------------------------

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def test_history_is_half_open_and_in_order(tmp_path: Path) -> None:
    with opened(config_for(tmp_path)) as store:
        for minute in range(10):
            store.append(make_report(minute, NOON + timedelta(minutes=minute)))
        found = store.history(NOON + timedelta(minutes=2), NOON + timedelta(minutes=5))
        assert [s.report.window_start.minute for s in found] == [2, 3, 4]
        assert len(list(store.history())) == 10


def test_history_longer_than_a_chunk_is_complete(tmp_path: Path) -> None:
    with opened(config_for(tmp_path)) as store:
        for number in range(1100):
            store.append(make_report(number % 7))
        assert [s.seq for s in store.history()] == list(range(1, 1101))


def test_a_bucket_weighs_by_people_and_never_uses_suppressed_windows(tmp_path: Path) -> None:
    few, many = make_report(1, NOON, people=2), make_report(2, NOON + timedelta(seconds=10), people=8)
    with opened(config_for(tmp_path)) as store:
        for report in (few, many, make_report(3, NOON, people=None), make_report(4, NOON, people=0)):
            store.append(report)
        (bucket,) = buckets(store, NOON, NOON + timedelta(minutes=1), 60)
    assert (bucket.windows, bucket.suppressed, bucket.people) == (4, 1, 10)
    assert bucket.percentages is not None
    assert sum(bucket.percentages.values()) == pytest.approx(100.0)
    for label, share in bucket.percentages.items():
        assert few.shares is not None
        assert many.shares is not None
        mean = (2 * few.shares.percentages[label] + 8 * many.shares.percentages[label]) / 10
        assert share == pytest.approx(mean, abs=0.1)


def test_buckets_lie_on_multiples_of_their_width_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    with opened(config_for(tmp_path)) as store:
        for minute in (0, 1, 7):
            store.append(make_report(minute, NOON + timedelta(minutes=minute), people=0 if minute == 7 else 5))
        found = buckets(store, NOON, NOON + timedelta(hours=1), 300)
    assert [(b.start.minute, b.windows, b.percentages is None) for b in found] == [(0, 2, False), (5, 1, True)]


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_rows_are_bounded_the_oldest_go_and_only_undelivered_ones_count(tmp_path: Path) -> None:
    with opened(config_for(tmp_path, max_rows=100)) as store:
        for number in range(100):
            store.append(make_report(number % 5))
        deliver(store, range(1, 31))
        for number in range(30):
            store.append(make_report(number % 5))
            assert store.stats().rows <= 100
        assert numbers(store)[-1] == 130
        assert store.stats().dropped == {"rows": 64 - 30}
        assert store.stats().pending == 130 - 64


def test_bytes_are_bounded(tmp_path: Path) -> None:
    with opened(config_for(tmp_path).model_copy(update={"max_mb": 0.2})) as store:
        for number in range(800):
            store.append(make_report(number % 5))
        assert store.stats().bytes < 0.25e6
        assert store.stats().dropped["bytes"] > 0
    assert (tmp_path / "windows.sqlite").stat().st_size < 0.25e6


def test_age_is_bounded_only_while_the_clock_can_be_believed(tmp_path: Path) -> None:
    clock = SteppedClock(synced=True)
    with opened(config_for(tmp_path, max_age_days=1), clock=clock) as store:
        store.append(make_report(1))
        clock.synced, clock.off = False, timedelta(days=3650)
        store.append(make_report(2))
        assert store.stats().rows == 2, "nobody knows the age"
        clock.off = timedelta(0)
        clock.forward_s, clock.synced = 2 * 86400, True
        store.append(make_report(3, age_s=-clock.forward_s))
        assert numbers(store) == [3], "the second got its true time within this boot"
        assert store.stats().dropped == {"age": 2}


@pytest.mark.parametrize("off", [timedelta(days=3650), timedelta(days=-3650)], ids=str)
@pytest.mark.parametrize("restart", [False, True], ids=["in one boot", "over a boot"])
def test_a_synchronised_clock_that_is_wrong_for_one_window_drops_no_window(
    tmp_path: Path, off: timedelta, restart: bool
) -> None:
    clock, config = SteppedClock(synced=True), config_for(tmp_path)
    with opened(config, clock=clock) as store:
        for number in range(10):
            store.append(make_report(number))
        clock.off = off
        store.append(make_report(11))
        assert (store.stats().oldest_pending_s or -1) == pytest.approx(10, abs=5)
        clock.off = timedelta(0)
        store.append(make_report(12))
        assert (store.stats().rows, store.stats().dropped) == (12, {})
    clock.boot = "boot-2" if restart else clock.boot
    with opened(config, "s2", clock) as store:
        store.append(make_report(13))
        assert (store.stats().rows, store.stats().dropped) == (13, {})
        deliver(store, range(1, 11))
        assert (store.stats().oldest_pending_s or 0) >= 0
        clock.forward_s = 31 * 86400
        store.append(make_report(14, age_s=-clock.forward_s))
        assert keys(store.pending()) == [("s2", 2)], "each becomes old, whatever time it was given"


def test_a_doubtful_window_goes_with_the_first_old_one_after_it(tmp_path: Path) -> None:
    clock = SteppedClock()
    config = config_for(tmp_path, max_age_days=1)
    with opened(config, clock=clock) as store:
        store.append(make_report(1, datetime(1980, 1, 1, tzinfo=timezone.utc)))
    clock.boot, clock.synced = "boot-2", True
    with opened(config, "s2", clock) as store:
        store.append(make_report(2))
        assert numbers(store) == [1, 1], "its time may be wrong, so its age is not known"
        clock.forward_s = 2 * 86400
        store.append(make_report(3, age_s=-clock.forward_s))
        assert numbers(store) == [2]


def test_windows_whose_age_is_never_known_are_walked_once_and_not_with_every_window(tmp_path: Path) -> None:
    report, clock = make_report(1), SteppedClock(synced=True, boot="boot-2")
    with closing(Database(tmp_path / "w.sqlite")) as file, file.transaction():
        plain = StoredWindow("s1", 1, replace(report, shares=None, rolling=None), False, "m1", "boot-1")
        for number in range(1, 20_001):
            file.insert(number, plain)
    with closing(Database(tmp_path / "w.sqlite")) as file:

        def look() -> tuple[float, list[int]]:
            begin_s = time.perf_counter()
            found = file.older_than(86_400, epoch_ms(clock.wall()), clock.monotonic_s(), boot_id=clock.boot, limit=10)
            return time.perf_counter() - begin_s, found

        first_s, found = look()
        assert found == []
        file.insert(20_001, StoredWindow("s2", 1, report, True, "m1", "boot-2"))
        assert min(look()[0] for _ in range(10)) < first_s / 5
        clock.forward_s = 2 * 86400
        assert look()[1] == list(range(1, 11)), "they go with the first old one after them"


# -- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=-3650)], ids=str)
def test_windows_of_a_wrong_clock_are_stamped_anew_once_it_is_synchronised(tmp_path: Path, off: timedelta) -> None:
    clock = SteppedClock()
    clock.off = off
    with opened(config_for(tmp_path), clock=clock) as store:
        wrong = store.append(make_report(1, clock.wall() - timedelta(seconds=10)))
        assert not wrong.clock_synced
        clock.off, clock.synced = timedelta(0), True
        store.append(make_report(2))
        first, second = store.history()
    assert (first.clock_synced, second.clock_synced) == (True, True)
    assert not damaged_files(tmp_path), "what the store itself writes is no harm"
    true_start = datetime.now(timezone.utc) - timedelta(seconds=10)
    assert abs(first.report.window_start - true_start) < timedelta(seconds=2)


@pytest.mark.parametrize("step", [timedelta(days=3650), timedelta(seconds=5)], ids=str)
def test_a_step_during_a_window_does_not_show_in_its_start(tmp_path: Path, step: timedelta) -> None:
    report = make_report(1)
    with opened(config_for(tmp_path), clock=SteppedClock(synced=True)) as store:
        stored = store.append(replace(report, window_start=report.window_start - step))
    assert abs(stored.report.window_start - report.window_start) < timedelta(seconds=0.5)


def test_a_window_that_is_not_synchronised_a_second_time_gets_its_true_time_too(tmp_path: Path) -> None:
    clock = SteppedClock(synced=True)
    with opened(config_for(tmp_path), clock=clock) as store:
        store.append(make_report(1))
        clock.off, clock.synced = timedelta(hours=-1), False
        report = make_report(2)
        store.append(replace(report, window_start=report.window_start + clock.off))
        clock.off, clock.synced = timedelta(0), True
        _, second = store.pending()
    assert second.clock_synced
    assert abs(second.report.window_start - report.window_start) < timedelta(seconds=1)


def test_a_start_that_was_told_as_true_is_not_told_otherwise_after_another_synchronisation(tmp_path: Path) -> None:
    clock = SteppedClock(synced=True)
    with opened(config_for(tmp_path), clock=clock) as store:
        told = store.append(make_report(1))
        clock.synced = False
        store.append(make_report(2))
        clock.off, clock.synced = timedelta(seconds=3), True
        assert store.pending(limit=1) == [told]


def test_windows_of_an_earlier_boot_keep_their_doubtful_time(tmp_path: Path) -> None:
    past = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(days=2)
    with opened(config_for(tmp_path), clock=SteppedClock(boot="boot-1")) as store:
        store.append(make_report(1, past))
    with opened(config_for(tmp_path), clock=SteppedClock(synced=True, boot="boot-2")) as store:
        store.append(make_report(2))
        first = next(iter(store.history()))
    assert (first.report.window_start, first.clock_synced) == (past, False)


def test_a_window_gets_its_true_time_before_it_is_sent_although_none_closes_any_more(tmp_path: Path) -> None:
    clock = SteppedClock()
    clock.off = timedelta(days=-200)
    with opened(config_for(tmp_path), clock=clock) as store:
        store.append(make_report(1, clock.wall()))
        clock.off, clock.synced = timedelta(0), True
        (waiting,) = store.pending()
        assert waiting.clock_synced
        assert abs(waiting.report.window_start - datetime.now(timezone.utc)) < timedelta(seconds=12)


def test_windows_of_an_earlier_process_of_this_boot_are_stamped_anew(tmp_path: Path) -> None:
    with opened(config_for(tmp_path), clock=SteppedClock()) as store:
        store.append(make_report(1, datetime(2020, 1, 1, tzinfo=timezone.utc)))
    with opened(config_for(tmp_path), "s2", SteppedClock(synced=True)) as store:
        store.append(make_report(2))
        first = next(iter(store.history()))
    assert first.clock_synced
    assert abs(first.report.window_start - datetime.now(timezone.utc)) < timedelta(seconds=12)
