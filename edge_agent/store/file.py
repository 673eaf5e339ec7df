"""The store's file and its log as this process has them open: locked, known again, and readable page by page."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from edge_agent.errors import StoreError
from edge_agent.store.pages import APPLICATION_ID, PAGE, records
from edge_agent.store.rows import intact_row

_WAL_HEADER, _FRAME_HEADER = 32, 24
_HEADS = [b"SQLite format 3\0" + PAGE.to_bytes(2, "big") + bytes([mode, mode, 0, 64, 32, 32]) for mode in (1, 2)]


class Held:
    """Keeps the file from other agents until :meth:`close`, which must come after SQLite's.

    (The file is opened here a second time. To close it would drop SQLite's own locks: POSIX ties them to the process.)

    Raises:
        OSError: it cannot be opened.
        StoreError: another agent has it.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._log: int | None = None
        self._is_stopped = False
        self._told = b""
        self._frames: dict[int, int] = {}
        self._file = os.open(path, (os.O_CREAT if create else 0) | os.O_RDONLY | os.O_CLOEXEC, 0o644)
        try:
            _lock(self._file, path)
            if not _is_same(self._file, path):
                raise StoreError(f"{path}: another agent is just replacing it")
            self.note()
        except BaseException:
            self.close()
            raise

    def note(self) -> None:
        """Remember how file and log are now: SQLite has just written, and nobody else may."""
        if self._log is None and self._wal.is_file():
            self._log = os.open(self._wal, os.O_RDONLY | os.O_CLOEXEC)
        self._told = self._look()

    @property
    def is_ours(self) -> bool:
        """Whether the file and the log under their names are still those that are open, and as long as they were."""
        same = _is_same(self._file, self.path) and (self._log is None or _is_same(self._log, self._wal))
        return same and self._told == self._look()

    @property
    def is_replaced(self) -> bool:
        """Whether there is another file under the name."""
        return self.path.exists() and not _is_same(self._file, self.path)

    @property
    def is_odd(self) -> bool:
        """Whether a part is missing that SQLite does not miss, or a folder is in its place.

        A log without its file, which SQLite drops. The log's index without the log, which only a kill leaves. Wrong
        constants in a head that is ours, some of which make SQLite take the file as read-only.
        """
        head = os.pread(self._file, 100, 0)
        if any(path.is_dir() for path in (self._wal, self._shm)):
            return True
        if head[68:72] == APPLICATION_ID.to_bytes(4, "big") and head[:24] not in _HEADS:
            return True
        return self._shm.exists() if self._log is None else not head and os.fstat(self._log).st_size > 0

    def _look(self) -> bytes:
        """Sizes, and the head of the log, which names the stretch of it that counts."""
        size = os.fstat(self._file).st_size
        if self._log is None:
            return b"%d" % size
        return b"%d %d " % (size, os.fstat(self._log).st_size) + os.pread(self._log, _WAL_HEADER, 0)

    @property
    def _wal(self) -> Path:
        return self.path.with_name(self.path.name + "-wal")

    @property
    def _shm(self) -> Path:
        return self.path.with_name(self.path.name + "-shm")

    @property
    def size(self) -> int:
        """Bytes of file and log."""
        return sum(os.fstat(each).st_size for each in (self._file, self._log) if each is not None)

    def pages(self) -> Iterator[bytes]:
        """Every page of the file, then every one that the log repeats; what the disk does not give is passed over.

        Raises:
            OSError: it gives nothing.
        """
        trouble, count = None, 0
        self._frames = {number: at for number, _, _, at in self._logged()}
        for handle, at in self._places():
            if self._is_stopped:
                raise OSError(errno.ECANCELED, "stopped")
            try:
                page = os.pread(handle, PAGE, at)
            except OSError as error:
                trouble = error
                continue
            count += 1
            yield page.ljust(PAGE, b"\0")
        if trouble is not None and not count:
            raise trouble

    def page(self, number: int) -> bytes:
        """One page as it was written last; empty beyond the end."""
        if number in self._frames:
            return os.pread(self._log or 0, PAGE, self._frames[number])
        return os.pread(self._file, PAGE, (number - 1) * PAGE)

    @property
    def hides_windows(self) -> bool:
        """Whether the log holds windows behind a frame that is wrong: SQLite stops reading there without a word.

        Frames are told by their salt, which changes when SQLite begins the log again over what it held.
        """
        if self._log is None:
            return False
        head = os.pread(self._log, _WAL_HEADER, 0)
        order = ">" if head[3:4] == b"\x83" else "<"
        sums, told = _sums(order, head[:24], (0, 0)), head[24:]
        salts, newest, seen, begun, whole = {head[16:24]}, 0, 0, 0, True
        self._frames = {number: at for number, _, _, at in self._logged()}
        for _, salt, is_commit, at in self._logged():
            frame, page = os.pread(self._log, _FRAME_HEADER, at - _FRAME_HEADER), os.pread(self._log, PAGE, at)
            salts = salts if seen or newest else {*salts, salt}
            if whole:
                whole = salt == head[16:24] and struct.pack(">II", *sums) == told
                sums, told = _sums(order, page, _sums(order, frame[:8], sums)), frame[16:]
                whole = whole and struct.pack(">II", *sums) == told
            if salt not in salts:
                continue
            rows = (intact_row(*record) for record in records(page, self.page))
            begun = max(begun, *(row[0] for row in rows if row), 0)
            if is_commit:
                newest = begun
                seen = newest if whole else seen
        return newest > seen

    def _logged(self) -> Iterator[tuple[int, bytes, bool, int]]:
        """(number of the page, salt, whether a transaction ends here, where the page begins) of each frame."""
        if self._log is None:
            return
        size = os.fstat(self._log).st_size
        for at in range(_WAL_HEADER, size - _FRAME_HEADER, _FRAME_HEADER + PAGE):
            head = os.pread(self._log, _FRAME_HEADER, at)
            yield int.from_bytes(head[:4], "big"), head[8:16], head[4:8] != bytes(4), at + _FRAME_HEADER

    def _places(self) -> Iterator[tuple[int, int]]:
        for at in range(0, os.fstat(self._file).st_size, PAGE):
            yield self._file, at
        for _, _, _, at in self._logged():
            yield self._log or 0, at

    def stop(self) -> None:
        """End :meth:`pages`, which another thread is reading."""
        self._is_stopped = True

    def close(self) -> None:
        """Let others have it."""
        for handle in (self._file, self._log):
            if handle is not None:
                os.close(handle)


def _sums(order: str, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    """The log's checksum (section 4.2 of the format), continued over ``data``."""
    first, second = sums
    for one, other in struct.iter_unpack(order + "II", data[: len(data) // 8 * 8]):
        first = first + one + second & 0xFFFFFFFF
        second = second + other + first & 0xFFFFFFFF
    return first, second


def _lock(handle: int, path: Path) -> None:
    """One agent per file. The lock is on the file itself, and goes with the process: nothing beside it can be lost."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreError(
            f"{path}: in use by another running agent; stop it, or give this one its own store.path"
        ) from None


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False
