"""The store's file and what takes its place: saving a damaged file, going to memory and coming back."""

from __future__ import annotations

import errno
import glob
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol, TypeVar

from edge_agent.errors import StoreError
from edge_agent.host.clock import Clock
from edge_agent.store.database import Database, sync_folder
from edge_agent.store.file import Held
from edge_agent.store.rescue import rescue

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 15.0
"""Between two attempts to get back to the file, and between two to save it."""
PATIENCE_S = 5.0
"""To save a large file takes longer, up to minutes; windows are kept in memory meanwhile."""
KEPT = 2
"""Files set aside that stay, the newest."""
FAILURES = (sqlite3.Error, OSError)
"""What a disk does to us."""
_TROUBLES = ("full", "readonly", "unable to open", "locked", "disk I/O")
"""What SQLite says when the disk is full, read-only, busy or failing; all else means that the file is damaged."""


class Opened(Protocol):
    """Called with a file that has been opened, and whether it had to be saved first."""

    def __call__(self, file: Database, *, saved: bool) -> None:
        """See the class."""


class Disk:
    """Either the file takes writes, or :attr:`memory` does; both are read. Not thread-safe: the store locks.

    Args:
        path: the file.
        clock: names the files set aside and times the retries.
        opened: called with a file that has been opened, and whether it had to be saved first.
    """

    def __init__(self, path: Path, clock: Clock, opened: Opened) -> None:
        self.file: Database | None = None
        self.memory: Database | None = None
        self.reason = ""
        self._path, self._clock, self._opened = path.resolve(), clock, opened  # as SQLite names the log
        self._held: Held | None = None
        self._saving: _Saving | None = None
        self._retry_at_s = self._repair_at_s = 0.0

    def open(self) -> None:
        """Take the file, or memory where that fails.

        Raises:
            StoreError: the file belongs to another running agent, another program or a newer version.
        """
        try:
            self._open_file()
        except FAILURES as error:
            self._to_memory(error)
        except StoreError:
            self.close()
            raise

    @property
    def databases(self) -> list[Database]:
        """Where windows are, the earlier ones first."""
        return [database for database in (self.file, self.memory) if database is not None]

    def write(self, action: Callable[[Database], T]) -> T:
        """Run ``action`` in one transaction: on the file, on a saved one after damage, or else in memory.

        It may be run more than once, so it must change nothing but the database.
        """
        while self.memory is None:
            try:
                return self._write_to_file(action)
            except FAILURES as error:
                if not self.repair(error):
                    self._to_memory(error)
        with self.memory.transaction():
            return action(self.memory)

    def _write_to_file(self, action: Callable[[Database], T]) -> T:
        # SQLite continues to write to files that somebody deleted or replaced, and all would be lost with the process.
        if self.file is None or self._held is None or not self._held.is_ours:
            raise sqlite3.DatabaseError("deleted, replaced or changed while it was in use")
        with self.file.transaction():
            result = action(self.file)
        self._held.note()
        return result

    def read(self, database: Database, action: Callable[[Database], T], otherwise: T) -> T:
        """What ``action`` finds; damage is repaired on the way, and what is lost reads as ``otherwise``."""
        try:
            return action(database)
        except FAILURES as error:
            if database is self.file and self.repair(error, reading=True):
                with suppress(*FAILURES):
                    return action(self.file)
        return otherwise

    def look_after(self, take_over: Callable[[Database, Database], None], *, at_once: bool = False) -> None:
        """See whether file and log are still ours; where memory is in use, try to get back to the file.

        ``take_over(file, memory)`` moves the windows in a transaction of the file.
        """
        if self.memory is None:
            if self._held is not None and not self._held.is_ours:
                self.write(lambda _: None)
            return
        if not (at_once or self._clock.monotonic_s() >= self._retry_at_s):
            return
        self._retry_at_s = self._clock.monotonic_s() + RETRY_S
        memory, is_done = self.memory, False
        while not is_done:
            try:
                if self._saving is not None:
                    self._save()
                elif self.file is None:
                    self._open_file()
                self._write_to_file(lambda file: take_over(file, memory))
                is_done = True
            except (*FAILURES, StoreError) as error:
                self.reason = f"{self._path}: {error}"
                if not self.repair(error):
                    self._drop_unreadable_file()
                    return
        memory.close()
        self.memory, self.reason = None, ""
        log.warning("windows are written to %s again", self._path)

    def repair(self, error: Exception, *, reading: bool = False) -> bool:
        """Save what can be read of the file, also of one that was deleted or replaced; whether that was done.

        A full or read-only disk is no damage. One that does not give back what it holds is, when ``reading``.
        """
        if self.file is None or self._held is None or self._saving or self._clock.monotonic_s() < self._repair_at_s:
            return False
        if self._held.is_ours and _is_trouble(error) and not (reading and "disk I/O" in str(error)):
            return False
        self._repair_at_s = self._clock.monotonic_s() + RETRY_S
        log.error("%s: %s; saving what can be read of it in a new file", self._path, error)
        try:
            self._save()
        except (*FAILURES, StoreError) as second:
            log.error("%s: what can be read of it cannot be saved: %s", self._path, second)
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._saving is not None and self._held is not None:
            self._held.stop()
            self._saving.join()
        if self.memory is not None:
            self.memory.close()
        self.memory = None
        self._let_go()

    def _let_go(self) -> None:
        if self.file is not None:
            self.file.close()
        if self._held is not None:
            self._held.close()
        self.file = self._held = None

    # -- opening and saving -------------------------------------------------------------------------------------

    def _open_file(self) -> None:
        if self._path.is_dir():
            raise StoreError(f"{self._path}: is a folder; store.path names a file")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._let_go()  # of what could not be used
        saved = self._beside(".rescued").exists()  # the power went, or the disk failed, before it had its name
        if saved:
            self._put_in_place()
        else:
            self._held = Held(self._path)
        try:
            self._open_held(saved=saved)
        except FAILURES as error:
            if _is_trouble(error):
                raise
            log.error("%s: %s; saving what can be read of it in a new file", self._path, error)
            self._save()

    def _open_held(self, *, saved: bool) -> None:
        held = self._held
        assert held is not None
        if held.is_odd or held.hides_windows:
            raise sqlite3.DatabaseError("the file or its log is damaged or missing")
        self.file = Database(self._path)
        held.note()
        self._opened(self.file, saved=saved)

    def _save(self) -> None:
        """Save into a new file what can still be read, and only then rename the old one.

        A full disk or a power cut meanwhile would otherwise cost every window.

        Raises:
            OSError, sqlite3.Error: it failed, or is not done yet; then call this again.
        """
        assert self._held is not None
        if self._saving is None:
            if shutil.disk_usage(self._path.parent).free < self._held.size:
                raise OSError(errno.ENOSPC, f"no room for a copy of {self._held.size / 1e6:.1f} MB")
            self._saving = _Saving(self._held, self._beside(".copy"), self._beside(".rescued"))
            self._saving.start()
        self._saving.join(PATIENCE_S)
        if self._saving.is_alive():
            raise OSError(errno.EINPROGRESS, "what can be read of it is still being saved")
        failure, self._saving = self._saving.failure, None
        if failure is not None:
            raise failure
        self._put_in_place()
        self._open_held(saved=True)

    def _put_in_place(self) -> None:
        """Set aside what is under the file's name, ours or not, and give the name to the rescued file."""
        rescued = Held(self._beside(".rescued"), create=False)
        try:
            if self._held is None or self._held.is_replaced:
                with suppress(FileNotFoundError):
                    Held(self._path, create=False).close()  # raises where another agent has it
            what = "replaced" if self._held is not None and self._held.is_replaced else "damaged"
            aside = self._beside(f".{what}-{self._clock.wall():%Y%m%dT%H%M%S.%fZ}")
            for suffix in ("-shm", "-wal", ""):  # the log first: a file without it is not whole
                with suppress(FileNotFoundError):
                    self._beside(suffix).rename(f"{aside}{suffix}")
            self._let_go()
            self._beside(".rescued").rename(self._path)
            sync_folder(self._path.parent)
        except BaseException:
            rescued.close()
            raise
        rescued.path, self._held = self._path, rescued
        log.error("%s: the %s file is set aside as %s", self._path, what, aside.name)
        self._drop_old(aside)

    def _drop_old(self, newest: Path) -> None:
        """A card that breaks again and again must not fill up with its own remains."""
        kind = glob.escape(newest.name.rpartition("-")[0])
        found = self._path.parent.glob(f"{kind}-*")
        names = sorted({path.name.removesuffix("-wal").removesuffix("-shm") for path in found} | {newest.name})
        for name in names[:-KEPT]:
            for suffix in ("", "-wal", "-shm"):
                with suppress(OSError):
                    newest.with_name(name + suffix).unlink()

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _drop_unreadable_file(self) -> None:
        """It is opened again with the next attempt."""
        if self._saving is not None:
            return
        try:
            if self.file is not None:
                self.file.newest()
        except FAILURES:
            self._let_go()

    def _to_memory(self, error: Exception) -> None:
        self.memory = Database(None)
        self.reason = f"{self._path}: {error}"
        self._retry_at_s = self._clock.monotonic_s() + RETRY_S
        log.error("windows are kept in memory only, and lost with a stop, until the disk takes them: %s", self.reason)


class _Saving(threading.Thread):
    """Copies what can be read of a file to ``copy``, and calls it ``whole`` once it is."""

    def __init__(self, held: Held, copy: Path, whole: Path) -> None:
        super().__init__(name="saving the store", daemon=True)
        self.failure: Exception | None = None
        self._held, self._copy, self._whole = held, copy, whole

    def run(self) -> None:
        """All of it."""
        try:
            for path in (self._copy, self._whole):
                path.unlink(missing_ok=True)
            with closing(Database(self._copy, building=True)) as fresh:
                rescue(self._held, fresh)
            with self._copy.open("rb") as written:
                os.fsync(written.fileno())
            self._copy.rename(self._whole)
        except FAILURES as error:
            self.failure = error


def _is_trouble(error: Exception) -> bool:
    """Whether the disk is full, read-only, busy or failing, rather than the file damaged."""
    return isinstance(error, (OSError, StoreError)) or any(word in str(error) for word in _TROUBLES)
