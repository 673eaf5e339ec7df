"""Tests a broker of the answers, with a password that is in no file yet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_agent.cli.doctor import broker as broker_checks
from edge_agent.cli.doctor.check import Check
from edge_agent.config import Config
from edge_agent.first_start.answers import BrokerAnswer


def check_broker(broker: BrokerAnswer) -> Iterator[Check]:
    """The doctor's checks of this broker, each as soon as it is known.

    Raises:
        ConfigError: its address is none.
    """
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # for this user alone, and gone afterwards
        file.write(broker.password)
        file.flush()
        yield from broker_checks.examine(Config(mqtt=broker.config(Path(file.name))))
