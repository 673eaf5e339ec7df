"""What fifty open pages cost the agent: its frame rate with and without them, measured alternately.

    python -m benchmarks.kiosk_load --write

The agent is ``edge-agent run`` with YuNet, on one processor, as fast as it can read a film of one face. A page is
played by what its script does: it holds a stream of events open, and asks for the trend every half minute. The pages
run on other processors. The frame rate that counts is what the agent's own processor time allows; other programs do not
disturb it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx
import psutil
import yaml

from benchmarks.written import write_between
from tests.support.broker import free_port
from tests.support.faces import write_astronaut
from training.machine import describe_machine

TREND_S = 30.0
SETTLE_S = 4.0
CONNECT_S = 120.0
TARGET_PERCENT = 10.0
PAGE = Path(__file__).parent.parent / "docs" / "kiosk.md"


def start_agent(folder: Path) -> tuple[str, subprocess.Popen[bytes]]:
    """The agent over one picture again and again, 60 times a second or as fast as it can, without a broker."""
    film = folder / "film"
    film.mkdir()
    write_astronaut(film / "her.png")
    port = free_port()
    settings = {
        "camera": {"backend": "replay", "source": str(film), "fps": 60},
        "detector": {"kind": "yunet", "looks_per_s": 60},
        "faces": {"still_s": 0},
        "window": {"seconds": 2},
        "privacy": {"min_people": 1},
        "mqtt": {"enabled": False},
        "store": {"path": str(folder / "windows.sqlite")},
        "kiosk": {"enabled": True, "port": port},
        "log": {"level": "warning"},
    }
    config = folder / "agent.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-m", "edge_agent", "run", "-c", str(config)])
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            httpx.get(f"{url}/healthz")
            return url, process
        except httpx.TransportError:
            time.sleep(0.1)
    process.kill()
    raise TimeoutError("the agent's page did not come up")


async def one_page(url: str, number: int, counts: list[int]) -> None:
    """Hold a stream open and ask for the trend from time to time, as ``board.js`` and ``trend.js`` do."""
    async with httpx.AsyncClient(base_url=url, timeout=None) as client:  # noqa: S113 (the stream never ends)

        async def trend() -> None:
            await asyncio.sleep(TREND_S * (number % 10) / 10)
            while True:
                await client.get("/api/history?from=-3600&bucket=120")
                await asyncio.sleep(TREND_S)

        asking = asyncio.create_task(trend())
        try:
            await client.get("/")
            async with client.stream("GET", "/api/events") as stream:
                async for line in stream.aiter_lines():
                    counts[number] += line.startswith("event: figures")
        finally:
            asking.cancel()


def open_pages(url: str, pages: int, connected: Event, *, stop: Event, received: Queue[int]) -> None:
    """Play ``pages`` browsers until ``stop``; then send the fewest events that one of them got while all were open."""

    async def browse() -> None:
        counts = [0] * pages
        tasks = [asyncio.create_task(one_page(url, number, counts)) for number in range(pages)]
        while min(counts) == 0:
            await asyncio.sleep(0.1)
        before = list(counts)
        connected.set()
        while not stop.is_set():
            await asyncio.sleep(0.1)
        received.put(min(after - first for after, first in zip(counts, before, strict=True)))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(browse())


def frames(url: str) -> float:
    """Frames that went through the pipeline since the start."""
    found = re.search(r"^countenance_frames_processed_total (\S+)", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def rate(url: str, process: psutil.Process, seconds: float) -> tuple[float, float]:
    """(frames per second, seconds of processor per frame) over the next ``seconds``."""
    begin, begin_s, cpu = frames(url), time.perf_counter(), sum(process.cpu_times()[:2])
    time.sleep(seconds)
    done, elapsed_s = frames(url) - begin, time.perf_counter() - begin_s
    return done / elapsed_s, (sum(process.cpu_times()[:2]) - cpu) / done


def measure(
    pages: int, seconds: float, rounds: int
) -> tuple[list[tuple[float, float]], list[tuple[float, float]], int]:
    """Measure without and with the pages in turn: both lists, and the fewest events that a page received."""
    spawn = get_context("spawn")
    alone: list[tuple[float, float]] = []
    watched: list[tuple[float, float]] = []
    fewest = sys.maxsize
    with tempfile.TemporaryDirectory() as folder:
        url, agent = start_agent(Path(folder))
        try:
            process = psutil.Process(agent.pid)
            first, *others = sorted(os.sched_getaffinity(0))
            for thread in process.threads():
                os.sched_setaffinity(thread.id, {first})
            os.sched_setaffinity(0, set(others) or {first})  # the pages inherit it
            time.sleep(SETTLE_S)
            for _ in range(rounds):
                alone.append(rate(url, process, seconds))
                connected, stop, received = spawn.Event(), spawn.Event(), spawn.Queue()
                browser = spawn.Process(
                    target=open_pages, args=(url, pages, connected), kwargs={"stop": stop, "received": received}
                )
                browser.start()
                if not connected.wait(CONNECT_S):
                    raise TimeoutError(f"{pages} pages did not connect within {CONNECT_S:.0f} s")
                watched.append(rate(url, process, seconds))
                stop.set()
                fewest = min(fewest, received.get())
                browser.join()
        finally:
            agent.terminate()
            agent.wait()
    return alone, watched, fewest


def describe(alone: list[tuple[float, float]], watched: list[tuple[float, float]], options: argparse.Namespace) -> str:
    """The table for docs/kiosk.md."""
    pages = f"{options.pages} pages open"
    (fps, cpu_s), (watched_fps, watched_cpu_s) = median(alone), median(watched)
    return "\n".join(
        [
            "| | frames per second of processor time | frames per second as seen |",
            "|---|---|---|",
            f"| no page open | {1 / cpu_s:.1f} | {fps:.1f} |",
            f"| {pages} | {1 / watched_cpu_s:.1f} | {watched_fps:.1f} |",
            "",
            f"{pages} change the agent's frame rate by {-cost_percent(alone, watched):+.1f} %",
            f"(`python -m benchmarks.kiosk_load --seconds {options.seconds:g} --rounds {options.rounds}` "
            f"on {describe_machine()}; medians of the rounds).",
        ]
    )


def cost_percent(alone: list[tuple[float, float]], watched: list[tuple[float, float]]) -> float:
    """Percent of the possible frame rate that the pages take; negative if the difference is only noise."""
    return 100 * (1 - median(alone)[1] / median(watched)[1])


def median(runs: list[tuple[float, float]]) -> tuple[float, float]:
    """Median of each of the two figures."""
    return statistics.median(fps for fps, _ in runs), statistics.median(cpu_s for _, cpu_s in runs)


def main() -> int:
    """Print the table, and with ``--write`` put it into the documentation; 1 if the pages cost more than they may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="update docs/kiosk.md")
    options = parser.parse_args()
    alone, watched, fewest = measure(options.pages, options.seconds, options.rounds)
    text = describe(alone, watched, options)
    print(text)
    print(f"each page received at least {fewest} events in {options.seconds:.0f} s")
    if options.write:
        write_between(PAGE, "cost", text)
    return 0 if cost_percent(alone, watched) < TARGET_PERCENT and fewest > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
