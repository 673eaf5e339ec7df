"""The topics on the broker."""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.config import Config


@dataclass(frozen=True, slots=True)
class Topics:
    """Topics of one device; ``base`` is ``<topic_prefix>/<device.id>``."""

    base: str
    discovery_prefix: str
    device_id: str

    @property
    def status(self) -> str:
        """Retained: online, stopped or offline; also the will."""
        return f"{self.base}/status"

    @property
    def info(self) -> str:
        """Retained: what the device is."""
        return f"{self.base}/info"

    @property
    def live(self) -> str:
        """Windows as they close."""
        return f"{self.base}/emotions"

    @property
    def history(self) -> str:
        """Windows sent later."""
        return f"{self.base}/emotions/history"

    @property
    def health(self) -> str:
        """How the device is doing."""
        return f"{self.base}/health"

    @property
    def commands(self) -> str:
        """Filter of every command."""
        return f"{self.base}/command/+"

    def command(self, name: str) -> str:
        """One command."""
        return f"{self.base}/command/{name}"

    @property
    def response(self) -> str:
        """Answers to commands."""
        return f"{self.base}/response"

    @property
    def discovery(self) -> str:
        """Home Assistant's device discovery, retained."""
        return f"{self.discovery_prefix}/device/{self.device_id}/config"

    @property
    def home_assistant_status(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self.discovery_prefix}/status"


def topics_of(config: Config) -> Topics:
    """The topics of this configuration."""
    return Topics(f"{config.mqtt.topic_prefix}/{config.device.id}", config.mqtt.discovery_prefix, config.device.id)
