"""Tests a broker of the answers, with a password that is in no file yet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.cli.doctor import broker as broker_checks
from edge_agent.cli.doctor.check import Check, Status
from edge_agent.config import Config
from edge_agent.first_start.answers import BrokerAnswer

if TYPE_CHECKING:
    from edge_agent.kiosk.setup.site import BrokerVerdict


def check_broker(broker: BrokerAnswer) -> Iterator[Check]:
    """The doctor's checks of this broker, each as soon as it is known.

    Raises:
        ConfigError: its address is none.
    """
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # for this user alone, and gone afterwards
        file.write(broker.password)
        file.flush()
        yield from broker_checks.examine(Config(mqtt=broker.config(Path(file.name))))


def verdict_of(broker: BrokerAnswer) -> BrokerVerdict:
    """The same in one word for the page: the first check that is not good.

    Raises:
        ConfigError: its address is none.
    """
    from edge_agent.kiosk.setup.site import BrokerVerdict

    bad = next((check for check in check_broker(broker) if check.status is not Status.OK), None)
    if bad is None:
        return BrokerVerdict("good")
    detail = f"{bad.detail} -> {bad.fix}"
    match bad.name.removeprefix("broker "):
        case "name" | "link" | "login" | "publish" as step:
            return BrokerVerdict(step, detail)
        case _:
            return BrokerVerdict("wrong", detail)
