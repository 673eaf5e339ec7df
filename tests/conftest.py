"""Fixtures that more than one test module uses; the things themselves live in modules beside this one."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge_agent  # noqa: F401 (first of all: it bounds what OpenCV decodes, which OpenCV reads when it is imported)
from tests.broker import Broker, require_mosquitto


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
    require_mosquitto()
    with Broker(tmp_path / "broker") as running:
        yield running
