"""A store and a publisher under test, without camera and model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.config import Config
from edge_agent.errors import ConfigError
from edge_agent.health.counters import Health
from edge_agent.live import Live
from edge_agent.mqtt.commands import Commands
from edge_agent.mqtt.payloads import DeviceInfo, ModelInUse
from edge_agent.mqtt.publisher import Publisher
from edge_agent.store import Store, open_store
from edge_agent.types import StoredWindow
from tests.support.broker import wait_until
from tests.support.windows import LABELS, make_report

INFO = DeviceInfo(
    version="1.2.3",
    name="Hall",
    labels=LABELS,
    model=ModelInUse("m", sha256="0" * 64, labels_of="fer2013", runtime="litert"),
    detector="built_in",
    camera="replay",
    rolling_s=900.0,
    min_people=3,
    site=None,
    config_sha256="1" * 64,
    capabilities=("pause",),
)


@dataclass
class Controls:
    """Does what the agent does, as far as the store is concerned, and remembers what was asked."""

    store: Store
    live: Live
    calls: list[Any] = field(default_factory=list)
    config_is_wrong: bool = False

    def pause(self) -> None:
        self.store.paused = True
        self.calls.append("pause")

    def resume(self) -> None:
        self.store.paused = False
        self.calls.append("resume")

    def reload(self) -> None:
        self.calls.append("reload")
        if self.config_is_wrong:
            raise ConfigError("agent.yaml: window.seconds: wrong")

    def identify(self) -> None:
        self.calls.append("identify")

    def update(self) -> None:
        self.calls.append("update")

    def set_window(self, seconds: float) -> None:
        self.calls.append(seconds)
        self.live.update(window_s=seconds)


@dataclass
class Rig:
    """One running publisher and its store."""

    config: Config
    store: Store
    publisher: Publisher
    controls: Controls
    health: Health

    def append(self, number: int = 1, **window: Any) -> StoredWindow:
        stored = self.store.append(make_report(number, **window))
        self.publisher.wake()
        return stored

    def wait_connected(self, timeout_s: float = 20.0) -> None:
        wait_until(lambda: self.publisher.connected, timeout_s, lambda: f"a connection: {self.publisher.problem}")

    def wait_delivered(self, timeout_s: float = 30.0) -> None:
        wait_until(
            lambda: self.store.stats().pending == 0,
            timeout_s,
            lambda: f"every PUBACK; {self.store.stats().pending} are missing: {self.publisher.problem}",
        )


def make_config(directory: Path, port: int, **mqtt: Any) -> Config:
    return Config.model_validate(
        {
            "device": {"id": "hall", "name": "Hall"},
            "store": {"path": str(directory / "windows.sqlite")},
            "mqtt": {"port": port, "keepalive_s": 5, "reconnect_max_s": 1, "history_per_s": 50, **mqtt},
        }
    )


@contextmanager
def publishing(config: Config, session: str = "s1", info: DeviceInfo = INFO) -> Iterator[Rig]:
    store = open_store(config.store, session, model="m1")
    live, health = Live(config.window.seconds), Health()
    controls = Controls(store, live)
    publisher = Publisher(
        config=config,
        store=store,
        session=session,
        info=info,
        commands=Commands(controls),
        health=health,
        live=live,
    )
    publisher.start()
    try:
        yield Rig(config, store, publisher, controls, health)
    finally:
        publisher.stop()
        store.close()
