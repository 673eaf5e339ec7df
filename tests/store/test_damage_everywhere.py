"""A store that is damaged in any place opens, goes on, keeps what can be read of it, and counts the rest.

Sampled in ``make test``; ``make test-device`` takes every page, and two bits of each byte of a window.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import StoreError
from edge_agent.store import Store, disk, open_store
from edge_agent.store.pages import PAGE
from edge_agent.types import Shares, StoredWindow
from tests.support.clocks import SteppedClock
from tests.support.stores import config_for, damaged_files, keys, opened
from tests.support.windows import make_report

WINDOWS = 600
DICE = random.Random(14)
FILLS: list[Callable[[bytes], bytes]] = [
    lambda _: bytes(PAGE),
    lambda _: b"\xff" * PAGE,
    lambda _: DICE.randbytes(PAGE),
    lambda whole: whole[(at := DICE.randrange(len(whole) // PAGE) * PAGE) : at + PAGE],
]
"""What takes the place of a page: nothing, ones, noise, another page."""

Key = tuple[str, int]


class Subject:
    """A store of 600 windows that nobody has received, as bytes and as what it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with opened(config_for(folder / "made"), "a8ed43f06adf0536") as store:
            stored = [store.append(make_report(number % 7)) for number in range(WINDOWS)]
            shutil.copytree(folder / "made", folder / "killed")
        self.windows = {(each.session, each.seq): each for each in stored}
        self.whole = (folder / "made" / "windows.sqlite").read_bytes()
        self.pages = len(self.whole) // PAGE
        self.rows = rows_of(folder / "made" / "windows.sqlite")

    def check(self, damaged: bytes) -> None:
        """The file with this content."""
        folder = self.folder / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = folder / "windows.sqlite"
        path.write_bytes(damaged)
        found = rows_of(path)
        path.write_bytes(damaged)
        assert self.kept(folder) >= sum(found.get(number) == row for number, row in self.rows.items())

    def kept(self, folder: Path) -> int:
        """How many of the windows are there, once it is seen that the store goes on and counts those that are not."""
        begin_s = time.process_time()
        with opened(config_for(folder), "s2") as store:
            store.append(make_report(1))
            *old, new = store.pending(limit=1000)
            assert time.process_time() - begin_s < 10
            assert (new.session, new.seq, store.in_memory) == ("s2", 1, False)
            assert len(set(keys(old))) == len(old), "none comes twice"
            assert all(same(each, self.windows[each.session, each.seq]) for each in old)
            assert store.stats().dropped.get("damage", 0) == WINDOWS - len(old)
            assert keys(store.history()) == keys([*old, new])
        with opened(config_for(folder), "s3") as store:
            assert keys(store.pending(limit=1000)) == keys([*old, new]), "and it is whole again"
        return len(old)


def same(one: StoredWindow, other: StoredWindow) -> bool:
    return (one.report, one.model, one.clock_synced) == (other.report, other.model, other.clock_synced)


def rows_of(path: Path) -> dict[int, tuple[Any, ...]]:
    """What plain SQLite finds, asked for one id after the other."""
    found = {}
    with closing(sqlite3.connect(path)) as file:
        for number in range(1, WINDOWS + 1):
            with suppress(sqlite3.Error):
                for row in file.execute("SELECT * FROM windows WHERE id = ?", (number,)).fetchall():
                    found[number] = row
    return found


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that has much else to do saving takes longer, too."""
    monkeypatch.setattr(disk, "PATIENCE_S", 60.0)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject(tmp_path_factory.mktemp("subject"))


def some(whole: range, few: int) -> list[Any]:
    """A few in ``make test``, all in ``make test-device``."""
    marks = [pytest.mark.device, pytest.mark.timeout(3600)]
    return [pytest.param(whole[:: len(whole) // few], id="some"), pytest.param(whole, id="all", marks=marks)]


@pytest.mark.parametrize("part", some(range(1300), 26))
def test_any_page_may_be_wrong(subject: Subject, part: range) -> None:
    """Each of the 300 odd pages, with each of the fillings."""
    beginning = range(16) if len(part) < 100 else ()  # the schema, the roots, the state
    for each in {*part, *beginning} & {*range(subject.pages * len(FILLS))}:
        subject.check(with_page(subject.whole, each // len(FILLS), FILLS[each % len(FILLS)](subject.whole)))


@pytest.mark.parametrize("part", some(range(300), 6))
def test_any_two_pages_may_be_wrong(subject: Subject, part: range) -> None:
    for _ in part:
        damaged = subject.whole
        for page in DICE.sample(range(1, subject.pages), 2):
            damaged = with_page(damaged, page, DICE.choice(FILLS)(subject.whole))
        subject.check(damaged)


@pytest.mark.parametrize("part", some(range(0, 500 * 8, 4), 14))
def test_any_bit_of_a_window_may_be_wrong(subject: Subject, part: range) -> None:
    """Two of each byte, through all columns of one row, and what SQLite writes before it."""
    begin = subject.whole.index(b"a8ed43f06adf0536", len(subject.whole) // 2) - 40
    for bit in part:
        subject.check(with_bit(subject.whole, begin * 8 + bit))


@pytest.mark.parametrize("part", some(range(100 * 8), 20))
def test_any_bit_of_the_head_may_be_wrong(subject: Subject, part: range) -> None:
    for bit in part:
        subject.check(with_bit(subject.whole, bit))


@pytest.mark.parametrize("part", some(range(1000), 8))
def test_any_bit_may_be_wrong(subject: Subject, part: range) -> None:
    for _ in part:
        subject.check(with_bit(subject.whole, DICE.randrange(len(subject.whole) * 8)))


def with_page(whole: bytes, page: int, content: bytes) -> bytes:
    return whole[: page * PAGE] + content + whole[(page + 1) * PAGE :]


def with_bit(whole: bytes, bit: int) -> bytes:
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("missing", [1, 512, 1024, 3000])
def test_the_tail_may_be_cut_off_or_empty(subject: Subject, missing: int) -> None:
    subject.check(subject.whole[:-missing])
    subject.check(subject.whole[:-missing] + bytes(missing))


@pytest.mark.parametrize("content", [b"", bytes(100), bytes(50_000), b"no database" * 1000], ids=len)
def test_without_anything_left_it_goes_on(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "windows.sqlite").write_bytes(content)
    with opened(config_for(tmp_path)) as store:
        store.append(make_report(1))
        assert keys(store.pending()) == [("s1", 1)]
        assert not store.in_memory
    assert [(tmp_path / name).read_bytes() for name in damaged_files(tmp_path)] == ([content] if content else [])


# -- beside the file, of an agent that was killed --------------------------------------------------------------------


def killed(subject: Subject, folder: Path) -> Path:
    """What a kill leaves: the last windows are in the log alone. Returns the log."""
    shutil.copytree(subject.folder / "killed", folder / "killed")
    return folder / "killed" / "windows.sqlite-wal"


@pytest.mark.parametrize("where", [20, 36, 50, 0.001, 0.3, 0.7])
def test_any_bit_of_the_log_may_be_wrong(subject: Subject, tmp_path: Path, where: float) -> None:
    log = killed(subject, tmp_path)
    content = log.read_bytes()
    log.write_bytes(with_bit(content, int(where * 8 if where > 1 else where * len(content) * 8)))
    assert subject.kept(log.parent) >= WINDOWS - 2


@pytest.mark.parametrize("begin", [0, 10_000])
def test_a_piece_of_the_log_may_be_wrong(subject: Subject, tmp_path: Path, begin: int) -> None:
    log = killed(subject, tmp_path)
    with log.open("r+b") as file:
        file.seek(begin)
        file.write(bytes(5000))
    assert subject.kept(log.parent) >= WINDOWS - 10


@pytest.mark.parametrize("content", [None, b"", b"\xff" * 40_000])
@pytest.mark.parametrize("name", ["windows.sqlite-shm", "windows.sqlite.lock"])
def test_what_is_beside_file_and_log_may_be_wrong_or_missing(
    subject: Subject, tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = killed(subject, tmp_path).with_name(name)
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    assert subject.kept(path.parent) == WINDOWS


@pytest.mark.parametrize("name", ["windows.sqlite-wal", "windows.sqlite-shm"])
def test_a_folder_in_the_place_of_the_log_is_set_aside(subject: Subject, tmp_path: Path, name: str) -> None:
    shutil.copytree(subject.folder / "made", tmp_path / "made")
    (tmp_path / "made" / name).mkdir()
    assert subject.kept(tmp_path / "made") == WINDOWS


def test_a_file_that_is_gone_while_its_log_is_there_costs_only_what_it_held(subject: Subject, tmp_path: Path) -> None:
    log = killed(subject, tmp_path)
    log.with_name("windows.sqlite").unlink()
    with opened(config_for(log.parent), "s2") as store:
        found = store.pending(limit=1000)
        assert all(same(each, subject.windows[each.session, each.seq]) for each in found)
        assert found[-1].seq == WINDOWS
        assert len(found) + store.stats().dropped["damage"] == WINDOWS


def test_a_log_that_is_gone_after_a_kill_is_told(
    subject: Subject, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = killed(subject, tmp_path)
    log.unlink()
    with opened(config_for(log.parent), "s2") as store:
        found = store.pending(limit=1000)
        assert 400 < len(found) < WINDOWS, "how many it held nothing tells any more"
        assert "damaged or missing" in caplog.text
    shutil.rmtree(log.parent)


# -- in use ----------------------------------------------------------------------------------------------------------


def delete(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xde\xad" * 20_000)


def replace(path: Path) -> None:
    path.rename(path.with_name("away"))
    path.write_bytes(b"something else" * 5000)


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("harm", [delete, cut, overwrite, replace])
def test_harm_while_it_is_in_use_costs_no_later_window_and_what_it_costs_is_counted(
    tmp_path: Path, harm: Callable[[Path], None], suffix: str
) -> None:
    with opened(config_for(tmp_path / "data")) as store:
        before = keys(store.append(make_report(number % 7)) for number in range(400))
        harm(tmp_path / "data" / f"windows.sqlite{suffix}")
        store.flush()
        after = keys(store.append(make_report(number % 7)) for number in range(12))
        kept, lost = keys(store.pending(limit=1000)), store.stats().dropped.get("damage", 0)
        shutil.copytree(tmp_path / "data", tmp_path / "killed")
    assert kept[-12:] == after
    assert kept == sorted(set(kept) & set(before + after))
    assert lost == 412 - len(kept)
    assert lost == 0 or harm in (cut, overwrite)
    with opened(config_for(tmp_path / "killed"), "s2") as store:
        left = keys(store.pending(limit=1000))
        assert left[-12:] == after
        assert len(left) + store.stats().dropped.get("damage", 0) == len(kept)
        assert left == kept or (harm, suffix) == (overwrite, "")  # SQLite had read it before


@pytest.mark.parametrize("name", ["windows.sqlite.lock", "windows.sqlite-wal", "windows.sqlite-shm"])
def test_no_second_agent_gets_in_when_a_file_beside_is_removed(tmp_path: Path, name: str) -> None:
    with opened(config_for(tmp_path)) as store:
        store.append(make_report(1))
        (tmp_path / name).unlink(missing_ok=True)
        with pytest.raises(StoreError, match="another running agent"):
            open_store(config_for(tmp_path), "s2")
        store.append(make_report(2))
        assert keys(store.pending()) == [("s1", 1), ("s1", 2)]


def test_two_agents_where_the_file_was_removed_between_send_every_window_of_both(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SteppedClock()

    def turn(*stores: Store) -> list[Key]:
        clock.forward_s += 20
        return keys(store.append(make_report(1)) for store in stores)

    with opened(config_for(tmp_path), "s1", clock) as first:
        told = turn(first)
        (tmp_path / "windows.sqlite").unlink()
        with opened(config_for(tmp_path), "s2", clock) as second:
            for _ in range(3):
                told += turn(first, second)
            assert first.in_memory
            assert "another running agent" in caplog.text
            assert {*keys(first.pending()), *keys(second.pending())} == {*told}
        told += turn(first)
        assert not first.in_memory
        assert keys(first.pending()) == [key for key in told if key[0] == "s1"]


def test_what_takes_long_to_save_is_saved_beside_the_measuring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full store takes a minute and more on a small machine."""
    monkeypatch.setattr(disk, "PATIENCE_S", 0.0)
    clock = SteppedClock()
    with opened(config_for(tmp_path)) as store:
        before = keys(store.append(make_report(number % 7)) for number in range(400))
    path = tmp_path / "windows.sqlite"
    path.write_bytes(with_page(path.read_bytes(), 1, bytes(PAGE)))
    with opened(config_for(tmp_path), "s2", clock):
        pass
    with opened(config_for(tmp_path), "s3", clock) as store:
        mine = keys([store.append(make_report(1))])
        assert store.in_memory, "a stop before it was saved has changed nothing"
        assert keys(store.pending()) == mine
        monkeypatch.setattr(disk, "PATIENCE_S", 60.0)
        clock.forward_s = 20
        store.flush()
        assert not store.in_memory
        assert keys(store.pending(limit=1000)) == before + mine


# -- an earlier version ----------------------------------------------------------------------------------------------


def as_then(shares: Shares | None) -> tuple[Any, ...]:
    """What the first version knew of shares."""
    if shares is None:
        return ()
    return shares.percentages, shares.percentages_raw, shares.intervals, shares.people


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_store_of_the_first_version_is_taken_over(tmp_path: Path, is_damaged: bool) -> None:
    """Made at bcbc06d by two sessions of ten windows; of the first, four were delivered; then it was paused."""
    content = (Path(__file__).parent / "version_1.db").read_bytes()
    if is_damaged:
        content = content[:-PAGE] + bytes(PAGE)
    (tmp_path / "windows.sqlite").write_bytes(content)
    with opened(config_for(tmp_path), "s3") as store:
        waiting = store.pending()
        assert store.paused
        if is_damaged:
            assert 12 < len(waiting) < 16
            assert len(waiting) + store.stats().dropped["damage"] == 16
            return
        expected = [
            *(("0a8ed43f06adf053", seq) for seq in range(5, 11)),
            *(("1b8ed43f06adf053", seq) for seq in range(11, 21)),
        ]
        assert keys(waiting) == expected
        assert len(list(store.history())) == 20
        for stored in waiting:
            made = make_report((stored.seq - 1) % 10, people=(5, None, 0)[(stored.seq - 1) % 10 % 3])
            assert as_then(stored.report.shares) == as_then(made.shares)
            assert as_then(stored.report.rolling and stored.report.rolling.shares) == as_then(made.rolling.shares)
            assert stored.model == "emotion@d9e040f86bc8"
        assert store.append(make_report(1)).seq == 1
