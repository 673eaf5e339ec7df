"""A hundred thousand frames through the real agent, with a store that prunes and a broker that takes everything."""

from __future__ import annotations

import logging
import statistics
import time
from pathlib import Path

import cv2
import pytest

from edge_agent.cli.demo import make_film
from tests.support.agent_process import AgentProcess, configure
from tests.support.broker import Broker, Subscriber

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.device, pytest.mark.timeout(5400)]

FRAMES = 100_000
WARM_UP = 10_000
"""Frames after which every buffer, table and pool has its size."""
ALLOWED_MB = 2.0
"""The allocator's breathing between the first and the last tenth after the warm-up."""


@pytest.fixture
def small_film(tmp_path: Path) -> Path:
    """The demo's film at a sixth of its size, so that the frames go by fast."""
    film = make_film(tmp_path / "film")
    for path in film.iterdir():
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (96, 72), interpolation=cv2.INTER_AREA))
    return film


def test_memory_does_not_grow(tmp_path: Path, broker: Broker, small_film: Path) -> None:
    config = configure(
        tmp_path,
        camera={"source": str(small_film), "fps": 0},
        mqtt={"port": broker.port, "health_s": 1},
        store={"max_rows": 100},
    )
    with (
        Subscriber(broker.port, "countenance/test/health") as health,
        AgentProcess("run", "-c", config, folder=tmp_path),
    ):
        samples = watch(health)
    tenth = len(samples) // 10
    first, last = (statistics.median(mb for _, mb in part) for part in (samples[:tenth], samples[-tenth:]))
    log.info("%d frames: %.1f MB after the warm-up, %.1f MB at the end", samples[-1][0], first, last)
    assert last - first <= ALLOWED_MB


def watch(health: Subscriber) -> list[tuple[int, float]]:
    """(frames, resident megabytes) after the warm-up, from the agent's own health messages."""
    samples: list[tuple[int, float]] = []
    progress_s = time.monotonic()
    while not samples or samples[-1][0] < FRAMES:
        time.sleep(1)
        told = [message.json for message in health.of("/health")]
        health.messages.clear()
        new = [(told["frames"]["processed"], told["rss_mb"]) for told in told if told["frames"]["processed"] > WARM_UP]
        samples += new
        if new or told:
            progress_s = time.monotonic()
        if time.monotonic() - progress_s > 60:
            pytest.fail("no health message for a minute")
    return samples
