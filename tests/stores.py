"""Opening the store in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
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


def numbers(store: Store) -> list[int]:
    return [stored.seq for stored in store.pending(limit=100_000)]
