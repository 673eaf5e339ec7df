"""Fixtures that more than one test module uses; ``tests.support`` has what they give."""

from __future__ import annotations

import logging
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import edge_agent  # noqa: F401 (first of all: it bounds what OpenCV decodes, which OpenCV reads when it is imported)
from tests.support.broker import Broker

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.support.kiosk_browser import Open
    from tests.support.kiosk_stage import Stage
    from training.data import Faces


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """What a shell starts in the background ignores SIGINT, and so would every program that these tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command line run in this process configures logging, which the next test must not inherit."""
    loggers = [logging.getLogger(), logging.getLogger("edge_agent")]
    before = [(logger.level, logger.handlers[:]) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A real mosquitto on a free loopback port; skipped by name without mosquitto, a failure in CI."""
    with Broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium; the modules that do without it do without Playwright, too."""
    from tests.support.kiosk_browser import chromium

    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The page of a real server over a store with an hour in it."""
    from tests.support.kiosk_stage import Stage

    with Stage(tmp_path_factory.mktemp("page"), privacy={"acknowledged_use": False, "min_people": 3}) as running:
        running.remember(hours=1.2, step_s=120)
        yield running


@pytest.fixture
def opened(browser: Browser, stage: Stage) -> Iterator[Open]:
    """Opens its pages."""
    from tests.support.kiosk_browser import pages_of

    with pages_of(browser, stage) as open_page:
        yield open_page


@pytest.fixture(scope="session")
def fer2013() -> Faces:
    """The real data; skips by name where it is not there."""
    from tests.support.fer import read_fer2013

    return read_fer2013()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
