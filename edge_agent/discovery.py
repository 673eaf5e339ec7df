"""Home Assistant's MQTT device discovery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.config import Config


def discovery_payload(config: Config, labels: tuple[str, ...], info: Mapping[str, Any]) -> dict[str, Any]:
    """The retained configuration of one device."""
    return {}
