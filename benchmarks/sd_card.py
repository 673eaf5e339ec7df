"""How much the store writes to an SD card per day, at default settings with every window delivered.

Windows are stored at their true pace, each time on a new file system. There are two counts. What the program writes is
``write_bytes`` of /proc/self/io. What reaches the card, with the journal of ext4, is the sectors that /sys/block
counts; this needs root, for a loop device. A day of windows stored at once shows how the file grows.

    python -m benchmarks.sd_card --minutes 20 --write
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from benchmarks.written import write_between
from edge_agent.config import StoreConfig, WindowConfig
from edge_agent.host.clock import Clock
from edge_agent.store import Store, open_store
from tests.support.windows import make_report
from training.machine import describe_machine

WINDOW_S = WindowConfig().seconds
DAY_S = 86400.0
SECTOR = 512
MOUNTS = ("noatime", "noatime,commit=60")
WARM_UP = 600
"""Windows before the count begins."""
SETTLE_S = 40.0
"""Longer than the kernel keeps dirty pages, so that no write of the warm-up is counted."""
RESULT = Path(__file__).parent / "results" / "sd_card.json"
PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"


class FastClock(Clock):
    """A clock that runs ahead of the true one, so that a day passes in minutes."""

    ahead_s = 0.0

    def wall(self) -> datetime:
        """True time and the lead."""
        return datetime.now(timezone.utc) + timedelta(seconds=self.ahead_s)

    def monotonic_s(self) -> float:
        """True time and the lead."""
        return time.monotonic() + self.ahead_s


def one_window(store: Store, number: int) -> None:
    """Append a window, and mark it as delivered."""
    stored = store.append(make_report(number))
    store.mark_delivered([stored])
    store.flush()


def a_day_in_a_row(folder: Path) -> dict[str, float]:
    """Megabytes that the program writes in a day, and that the file grows by."""
    clock = FastClock()
    store = open_store(StoreConfig(path=folder / "day.sqlite"), "s", "model", clock=clock)
    before = written_by_us()
    for number in range(round(DAY_S / WINDOW_S)):
        one_window(store, number)
        clock.ahead_s += WINDOW_S
    store.close()
    size = (folder / "day.sqlite").stat().st_size
    return {"written_mb_per_day": (written_by_us() - before) / 1e6, "file_mb_per_day": size / 1e6}


def written_by_us() -> int:
    """Bytes that this process caused to be written to storage."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])


def at_true_pace(minutes: float, options: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Megabytes a day that the program writes, and, for each set of mount options, that reach a new ext4."""
    with contextlib.ExitStack() as stack:
        cards = {}
        for each in options:
            folder, device = stack.enter_context(ext4_on_a_loop_device(each))
            cards[each] = Card(folder, device)
            stack.callback(cards[each].store.close)
        time.sleep(SETTLE_S)
        before, ours = {each: card.bytes_written() for each, card in cards.items()}, written_by_us()
        start = time.monotonic()
        for number in range(round(minutes * 60 / WINDOW_S)):
            for card in cards.values():
                one_window(card.store, number)
            time.sleep(max(0.0, start + (number + 1) * WINDOW_S - time.monotonic()))
        days = (time.monotonic() - start) / DAY_S
        written = (written_by_us() - ours) / len(cards) / 1e6 / days
        return written, {each: (card.bytes_written() - before[each]) / 1e6 / days for each, card in cards.items()}


class Card:
    """A store on a new file system, warmed up: its write-ahead log has its full size, as after an hour."""

    def __init__(self, folder: Path, device: str) -> None:
        self.device = device
        self.store = open_store(StoreConfig(path=folder / "windows.sqlite"), "s", "model")
        for number in range(WARM_UP):
            one_window(self.store, number)

    def bytes_written(self) -> int:
        """Bytes that have reached the device, after a sync (seventh field of Documentation/block/stat.rst)."""
        os.sync()
        return SECTOR * int(Path(f"/sys/block/{self.device}/stat").read_text(encoding="ascii").split()[6])


@contextlib.contextmanager
def ext4_on_a_loop_device(options: str) -> Iterator[tuple[Path, str]]:
    """A mounted file system and the name of its device."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        image, folder = Path(name) / "image", Path(name) / "mounted"
        folder.mkdir()
        with image.open("wb") as file:
            file.truncate(512 << 20)
        device = run("losetup", "--find", "--show", str(image))
        try:
            # Without lazy initialisation, which would continue to write for minutes.
            run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
            run("mount", "-o", options, device, str(folder))
            try:
                yield folder, Path(device).name
            finally:
                run("umount", str(folder))
        finally:
            run("losetup", "-d", device)


def run(*command: str) -> str:
    """Output of the command; the benchmark ends if it fails."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def describe(result: dict[str, Any]) -> str:
    """The paragraph for docs/reliability.md."""
    reached = ", ".join(f"{value:.0f} MB mounted `{name}`" for name, value in result["reached_mb_per_day"].items())
    return (
        f"The agent writes {result['true_pace_mb_per_day']:.0f} MB a day, and the file grows by "
        f"{result['file_mb_per_day']:.1f} MB a day.\n"
        f"With the journal of ext4, this much reaches the card in a day: {reached}.\n"
        f"({result['machine']}, `python -m benchmarks.sd_card --minutes {result['minutes']:g}`)"
    )


def main() -> None:
    """Measure, print, and with ``--write`` put the figures into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="length of the true-pace part")
    parser.add_argument("--write", action="store_true", help="update the result file and docs/reliability.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        result: dict[str, Any] = a_day_in_a_row(Path(name))
    result["true_pace_mb_per_day"], result["reached_mb_per_day"] = at_true_pace(options.minutes, MOUNTS)
    result["minutes"] = options.minutes
    result["machine"] = f"Linux {platform.release()}, {describe_machine()}"
    print(json.dumps(result, indent=2))
    if options.write:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        write_between(PAGE, "sd card", describe(result))


if __name__ == "__main__":
    main()
