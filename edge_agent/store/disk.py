"""The store's file and what stands in for it: setting a damaged file aside, going to memory and coming back."""

from __future__ import annotations

import fcntl
import glob
import itertools
import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, TypeVar

from edge_agent.errors import StoreError
from edge_agent.host.clock import Clock
from edge_agent.store.database import Database
from edge_agent.store.rescue import rescue

log = logging.getLogger(__name__)

T = TypeVar("T")

Identity = tuple[int, int]
"""Device and number of a file, which a name does not tell."""

RETRY_S = 15.0
"""Between two attempts to get back to the file."""

DAMAGED_KEPT = 2
"""Damaged files that stay, the newest."""

FAILURES = (sqlite3.Error, OSError)
"""What a disk does to us."""


class Disk:
    """Either the file takes writes, or :attr:`memory` does; both are read. Not thread-safe: the store locks.

    Args:
        path: the file.
        clock: names the damaged files and times the retries.
        replaced: called with all databases when a new file had to take the old one's place; windows may be missing.
    """

    def __init__(self, path: Path, clock: Clock, replaced: Callable[..., None]) -> None:
        self.file: Database | None = None
        self.memory: Database | None = None
        self.reason = ""
        self.was_damaged = False
        """Whether the file was found damaged when it was opened."""
        self._path, self._clock, self._replaced = path, clock, replaced
        self._retry_at_s = 0.0
        self._ours: dict[Path, Identity | None] = {}
        self._guard: IO[bytes] | None = None

    def open(self) -> None:
        """Take the file, or memory where that fails.

        Raises:
            StoreError: the file belongs to another running agent, another program or a newer version.
        """
        try:
            self._take_guard()
            self.file = self._open_file()
        except FAILURES as error:
            self._to_memory(error)
        except StoreError:
            self.close()
            raise

    @property
    def databases(self) -> list[Database]:
        """Where windows are, lower numbers first."""
        return [database for database in (self.file, self.memory) if database is not None]

    def write(self, action: Callable[[Database], T]) -> T:
        """Run ``action`` in one transaction: on the file, on a fresh one after damage, or else in memory.

        It may be run more than once, so it must change nothing but the database.
        """
        for attempt in (1, 2):
            if self.memory is not None:
                break
            try:
                return self._write_to_file(action)
            except FAILURES as error:
                if attempt == 2 or not self._heal(error):
                    self._to_memory(error)
        assert self.memory is not None
        with self.memory.transaction():
            return action(self.memory)

    def _write_to_file(self, action: Callable[[Database], T]) -> T:
        # SQLite goes on writing to a file that somebody deleted or replaced, and all would be lost with the process.
        if self.file is None or not self._is_ours():
            raise sqlite3.OperationalError("the file has vanished")
        with self.file.transaction():
            return action(self.file)

    def read(self, database: Database, action: Callable[[Database], T], otherwise: T) -> T:
        """What ``action`` finds; damage is healed on the way, and what is lost reads as ``otherwise``."""
        try:
            return action(database)
        except FAILURES as error:
            log.error("%s cannot be read: %s", self._path, error)
            if database is self.file and _is_damage(error) and self._heal(error):
                with suppress(*FAILURES):
                    return action(self.file)
        return otherwise

    def recover_if_due(self, take_over: Callable[[Database, Database], None], at_once: bool = False) -> None:
        """Try to get back to the file: ``take_over(file, memory)`` moves the windows in a transaction of the file."""
        if self.memory is None or not (at_once or self._clock.monotonic_s() >= self._retry_at_s):
            return
        self._retry_at_s = self._clock.monotonic_s() + RETRY_S
        try:
            self._reopen()
            assert self.file is not None
            with self.file.transaction():
                take_over(self.file, self.memory)
        except (*FAILURES, StoreError) as error:
            self.reason = f"{self._path}: {error}"
            if not (_is_damage(error) and self._heal(error)):
                self._drop_unreadable_file()
            return
        self.memory.close()
        self.memory, self.reason = None, ""
        log.warning("windows are written to %s again", self._path)

    def close(self) -> None:
        """Let go of the file."""
        for database in self.databases:
            database.close()
        self.file = self.memory = None
        if self._guard is not None:
            self._guard.close()

    def _is_ours(self) -> bool:
        """Whether the file under the path is the one that is open."""
        return self._ours.get(self._path) == _identity(self._path) is not None

    def _note(self, file: Database) -> Database:
        """Remember which file this is, and which log belongs to it."""
        self._ours = {path: _identity(path) for path in (self._path, self._beside("-wal"))}
        return file

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _reopen(self) -> None:
        """A file that was open stays so, since a full disk would not let it be opened again, and it can be read."""
        if self._guard is None:
            self._take_guard()
        if self.file is not None and not self._is_ours():
            self.file = self._write_anew(self.file)
        if self.file is None:
            self.file = self._open_file()

    def _drop_unreadable_file(self) -> None:
        """It is opened anew with the next attempt."""
        try:
            if self.file is not None:
                self.file.bounds()
        except FAILURES:
            if self.file is not None:
                self.file.close()
            self.file = None

    def _take_guard(self) -> None:
        """One agent per file: two would give out the same numbers. The lock goes with the process."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        guard = self._path.with_name(self._path.name + ".lock").open("wb")
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            guard.close()
            raise StoreError(
                f"{self._path}: in use by another running agent; stop it, or give this one its own store.path"
            ) from None
        self._guard = guard

    def _open_file(self) -> Database:
        if self._path.is_dir():
            raise StoreError(f"{self._path}: is a folder; store.path names a file")
        try:
            if self._beside(".rescued").exists():  # the power went, or the disk failed, before it had its name
                self.was_damaged = True
                return self._take_rescued()
            return self._note(Database(self._path))
        except FAILURES as error:
            if not _is_damage(error):
                raise
            self.was_damaged = True
            return self._start_afresh(error)

    def _heal(self, error: Exception) -> bool:
        """Start a fresh file when the old one is damaged, deleted or replaced; whether that worked."""
        if self.file is None or (self._is_ours() and not _is_damage(error)):
            return False
        old, self.file = self.file, None
        try:
            if self._is_ours():
                old.close()
                self.file = self._start_afresh(error)
            else:
                self.file = self._write_anew(old)
            self._replaced(*self.databases)
        except FAILURES as second:
            log.error("%s: no fresh file either: %s", self._path, second)
            return False
        return True

    def _write_anew(self, old: Database) -> Database:
        """The file that was deleted or replaced is still there for who has it open: copy it back to its name."""
        copy = self._beside(".copy")
        copy.unlink(missing_ok=True)
        old.copy_to(copy)
        aside = self._set_strangers_aside()
        old.close()
        for suffix in ("-wal", "-shm"):
            self._beside(suffix).unlink(missing_ok=True)
        copy.replace(self._path)
        fate = "deleted"
        if aside is not None:
            fate = f"replaced by another file (set aside as {aside.name}; to use that one, stop the agent first)"
        log.error("%s was %s while it was in use; it is written anew", self._path, fate)
        return self._note(Database(self._path))

    def _drop_old_damage(self, newest: Path) -> None:
        """A card that breaks again and again must not fill up with its own remains."""
        found = self._path.parent.glob(f"{glob.escape(self._path.name)}.damaged-*")
        others = sorted({path.name.removesuffix("-wal").removesuffix("-shm") for path in found} - {newest.name})
        for name in others[: 1 - DAMAGED_KEPT]:
            for suffix in ("", "-wal", "-shm"):
                with suppress(OSError):
                    newest.with_name(name + suffix).unlink()

    def _set_strangers_aside(self) -> Path | None:
        """What somebody put in our files' place keeps all that it holds under another name: None if it is nothing."""
        aside = self._aside("replaced")
        strangers = [path for path, ours in self._ours.items() if _identity(path) not in (None, ours)]
        for path in strangers:
            path.replace(aside.with_name(path.name.replace(self._path.name, aside.name, 1)))
        return aside if strangers else None

    def _aside(self, what: str) -> Path:
        return self._beside(f".{what}-{self._clock.wall():%Y%m%dT%H%M%S.%fZ}")

    def _start_afresh(self, error: Exception) -> Database:
        """Save into a new file what can still be read of the damaged one, and only then set that aside.

        A full disk or a power cut meanwhile would otherwise cost every window.
        """
        for name, suffix in itertools.product((".copy", ".rescued"), ("", "-wal", "-shm")):
            self._beside(name + suffix).unlink(missing_ok=True)
        copy = self._beside(".copy")
        with closing(Database(copy)) as fresh:
            saved = rescue(self._path, fresh)
        log.error("%s is damaged (%s): %d windows can still be read of it", self._path, error, saved)
        self._move(copy, self._beside(".rescued"))  # whole, under this name: what is left to do can be done later
        return self._take_rescued()

    def _take_rescued(self) -> Database:
        """Set the damaged file aside, unless that has been done, and put what was read of it in its place."""
        aside = self._aside("damaged")
        self._move(self._path, aside)
        self._move(self._beside(".rescued"), self._path)
        self._drop_old_damage(aside)
        log.error("%s: the damaged file is set aside as %s, and a fresh one takes its place", self._path, aside.name)
        return self._note(Database(self._path))

    def _move(self, path: Path, to: Path) -> None:
        """With its log, first: a file without it is not whole."""
        for suffix in ("-shm", "-wal", ""):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").replace(f"{to}{suffix}")

    def _to_memory(self, error: Exception) -> None:
        self.memory = Database(None)
        self.reason = f"{self._path}: {error}"
        self._retry_at_s = self._clock.monotonic_s() + RETRY_S
        log.error("windows are kept in memory only, and lost with a stop, until the disk takes them: %s", self.reason)


def _is_damage(error: Exception) -> bool:
    """Whether the file is broken, rather than the disk full, read-only, busy or failing.

    Python raises plain DatabaseError for SQLITE_CORRUPT and SQLITE_NOTADB, OperationalError for the disk's troubles.
    """
    return type(error) is sqlite3.DatabaseError


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
