"""Opening the store in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.config import StoreConfig
from edge_agent.store import Store, open_store
from tests.clocks import SteppedClock


def config_for(directory: Path, **changes: object) -> StoreConfig:
    return StoreConfig.model_validate({"path": directory / "windows.sqlite", **changes})


@contextmanager
def opened(config: StoreConfig, session: str = "s1", clock: SteppedClock | None = None) -> Iterator[Store]:
    store = open_store(config, session, "m1", clock)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """As if what ``folder`` lies on were not mounted yet."""
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


def numbers(store: Store) -> list[int]:
    return [stored.seq for stored in store.pending(limit=100_000)]
