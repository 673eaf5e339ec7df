"""``edge-agent export``: the stored windows, or hours or days of them together, as CSV or JSON lines."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TextIO

from edge_agent.config import Config
from edge_agent.errors import ModelError, StoreError
from edge_agent.host.clock import epoch_ms
from edge_agent.host.rights import is_barred
from edge_agent.store.database import Database
from edge_agent.store.table import bucket_csv_lines, bucket_json_lines, csv_lines, json_lines
from edge_agent.store.trend import Corrector, merge, width_ms
from edge_agent.types import StoredWindow
from edge_agent.vision.model import default_model_path, read_info, reading_id
from edge_agent.vision.site_file import site_in_use, site_path

BUCKETS_S = {"hour": 3600.0, "day": 86400.0}
"""What ``--bucket`` takes; days are those of UTC."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What to export and how."""

    start: datetime | None = None
    """None for the oldest window."""
    end: datetime | None = None
    """Not included; None for the newest one."""
    as_json: bool = False
    """JSON lines in place of CSV."""
    bucket: str | None = None
    """A key of BUCKETS_S adds the windows of each up; None for the windows themselves."""


def export(config: Config, wanted: Wanted, target: TextIO) -> int:
    """``edge-agent export``: write the stored windows.

    The agent may be running. If its disk is full, windows that it keeps in memory are not in the file.

    Args:
        config: names the store, the device and the model that adds windows up.
        wanted: what and how.
        target: opened with ``newline=""``.

    Returns:
        How many windows or buckets were written.

    Raises:
        StoreError: the file is missing, closed to this user, damaged or not ours.
        ModelError: windows are to be added up, and the model's .json is missing or wrong.
    """
    path = config.store.path
    if is_barred(path):
        raise StoreError(f"{path}: this user may not read the store; run this with sudo")
    if not path.is_file():
        raise StoreError(f"{path}: there is no store here; name the configuration of the agent with -c FILE")
    try:
        with closing(Database(path, read_only=True)) as database:
            lines = _lines(database, config, wanted)
            return sum(1 for _ in map(target.write, lines)) - (0 if wanted.as_json else 1)
    except sqlite3.Error as error:
        raise StoreError(
            f"{path}: cannot be read ({error}); starting the agent once repairs a damaged store"
        ) from error


def write_file(config: Config, wanted: Wanted, path: Path) -> int:
    """The same into a file; it appears only when it is complete.

    Raises:
        StoreError: as :func:`export` does, or the file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as target:
            count = export(config, wanted, target)
        part.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot write the export: {error.strerror}; is there space and the right?") from error
    finally:
        part.unlink(missing_ok=True)
    return count


def _lines(database: Database, config: Config, wanted: Wanted) -> Iterator[str]:
    low = -(1 << 62) if wanted.start is None else epoch_ms(wanted.start)
    high = 1 << 62 if wanted.end is None else epoch_ms(wanted.end)
    labels, device = database.labels(), config.device.id
    if wanted.bucket is not None:
        width = width_ms(BUCKETS_S[wanted.bucket])
        buckets = merge(database.sums(low, high, width), width, load_corrector(config))
        return bucket_json_lines(buckets, device) if wanted.as_json else bucket_csv_lines(buckets, labels)
    windows = _windows(database, low, high)
    return json_lines(windows, device) if wanted.as_json else csv_lines(windows, labels, device)


def load_corrector(config: Config) -> Corrector:
    """What adds up the windows of the configured model; raises ModelError, and InputError for a damaged site.json."""
    info = read_info((config.model.path or default_model_path()).with_suffix(".json"))
    name = info.default_head if config.model.labels == "default" else config.model.labels
    if name not in info.heads:
        raise ModelError(f"model.labels: {info.name} has no head {name!r}, only {', '.join(info.heads)}")
    site = site_in_use(site_path(config), info, name)
    return Corrector(reading_id(info, name, site), info.heads[name].share_estimator(info.labels, site))


def _windows(database: Database, low: int, high: int) -> Iterator[StoredWindow]:
    after = -1
    while True:
        chunk, damaged = database.windows("id > ? AND start_ms >= ? AND start_ms < ? ORDER BY id", (after, low, high))
        if damaged:
            log.warning("%s: %d windows are damaged and left out", database.path, damaged)
        if not chunk:
            return
        yield from chunk
        after = database.id_of(chunk[-1].place)
