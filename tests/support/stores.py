"""Opens the store in a new folder, and plays what may happen to the disk under it."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from edge_agent.config import StoreConfig
from edge_agent.store import Store, open_store
from edge_agent.store.trend import Bucket, merge, width_ms
from edge_agent.types import StoredWindow
from tests.support.clocks import SteppedClock
from tests.support.windows import UNCORRECTED


def config_for(directory: Path, **changes: object) -> StoreConfig:
    return StoreConfig.model_validate({"path": directory / "windows.sqlite", **changes})


@contextmanager
def opened(config: StoreConfig, session: str = "s1", clock: SteppedClock | None = None) -> Iterator[Store]:
    store = open_store(config, session, "m1", clock=clock)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """As if the disk of ``folder`` were not mounted yet."""
    aside = folder.with_name(f"{folder.name}.aside")
    if folder.exists():
        folder.rename(aside)
    folder.write_text("not mounted")
    yield
    folder.unlink()
    if aside.exists():
        aside.rename(folder)


def deliver(store: Store, numbers: Iterable[int]) -> None:
    """The PUBACKs of these came."""
    wanted = set(numbers)
    store.mark_delivered([stored for stored in store.pending(limit=100_000) if stored.seq in wanted])


def keys(windows: Iterable[StoredWindow]) -> list[tuple[str, int]]:
    return [(stored.session, stored.seq) for stored in windows]


def numbers(store: Store) -> list[int]:
    return [stored.seq for stored in store.pending(limit=100_000)]


def damaged_files(directory: Path) -> list[str]:
    return sorted(
        p.name for p in directory.iterdir() if ".damaged-" in p.name and not p.name.endswith(("-wal", "-shm"))
    )


def corrupt_pages(path: Path, first: int, last: int) -> None:
    with path.open("r+b") as file:
        file.seek(first * 4096)
        file.write(b"\xde\xad\xbe\xef" * 1024 * (last - first))


def fill(folder: Path) -> Path:
    """The file that leaves no room on the disk."""
    ballast = folder / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True, check=False)
    return ballast


def buckets(store: Store, start: datetime, end: datetime, bucket_s: float) -> list[Bucket]:
    """As the page's history makes them."""
    return merge(itertools.chain.from_iterable(store.sums(start, end, bucket_s)), width_ms(bucket_s), UNCORRECTED)
