"""Releases to install on a booted device, and what a person does there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.broker import wait_until
from tests.support.container import Container
from tests.support.trees import build_wheel, stage_sources, wheelhouse

UNIT = "countenance.service"
CONFIG = "/etc/countenance/agent.yaml"
REPLAY = """\
device: {id: porch}
camera: {backend: replay, source: /film, fps: 5}
window: {seconds: 2}
privacy: {min_people: 1, acknowledged_use: true}
mqtt: {health_s: 5}
"""


@dataclass
class Release:
    """One state of the project: what an installation begins with."""

    sources: Path
    wheels: Path


def make_release(
    folder: Path,
    edit: Callable[[Path], None] = lambda _sources: None,
    dependencies: Path | None = None,
    python: str = "3.11",
) -> Release:
    """Stage the sources, edit them and build their wheel, with the wheels of what it needs."""
    sources = stage_sources(folder / "sources")
    edit(sources)
    wheels = folder / "wheels"
    wheels.mkdir()
    build_wheel(sources, wheels)
    (own,) = wheels.glob("*.whl")
    for wheel in (dependencies or wheelhouse(python, "x86_64", own)).glob("*.whl"):
        if not wheel.name.startswith("countenance-"):
            os.link(wheel, wheels / wheel.name)
    return Release(sources, wheels)


def binds(name: str, release: Release) -> list[tuple[Path, str]]:
    """Show a release inside a container."""
    return [(release.sources, f"/{name}"), (release.wheels, f"/{name}-wheels")]


def wait_for_broker(device: Container) -> None:
    """Until mosquitto takes messages."""
    wait_until(lambda: device.attempt("mosquitto_pub -h 127.0.0.1 -t x -n").returncode == 0, 30, "mosquitto")


def install(device: Container, name: str, *options: str) -> tuple[int, str]:
    """Run the installer of a release as a root whose files nobody else may read; its exit code and what it said."""
    command = f"umask 077; /{name}/systemd/install.sh --wheels /{name}-wheels {' '.join(options)}"
    done = device.attempt(command, timeout_s=600)
    return done.returncode, done.stdout


def use(device: Container, config: str) -> None:
    """Write the configuration and restart."""
    device.write(CONFIG, config)
    device.attempt(f"systemctl restart {UNIT}", timeout_s=100)


def one_message(device: Container, topic: str, options: str = "") -> dict[str, object]:
    """The next message on a topic."""
    line = device.run(f"mosquitto_sub -h 127.0.0.1 -t {topic} -C 1 -W 40 {options}", timeout_s=60)
    message: dict[str, object] = json.loads(line)
    return message


def journal(device: Container) -> str:
    """All that the service has said."""
    return device.run(f"journalctl -u {UNIT} --no-pager -o cat")


def check_that_restarts_slow_down(device: Container) -> None:
    """The agent is killed again and again after somebody started it by hand; each time it is away for longer."""
    device.run(f"systemctl restart {UNIT}", timeout_s=100)
    assert device.show(UNIT, "NRestarts") == "0"
    away = [_seconds_until_back(device) for _ in range(3)]
    starting = away[0] - 5
    assert starting > 0
    assert [round(seconds - starting) for seconds in away[1:]] == pytest.approx([10, 20], abs=3), away
    device.run(f"systemctl restart {UNIT}", timeout_s=100)
    assert device.show(UNIT, "NRestarts") == "0"


def _seconds_until_back(device: Container) -> float:
    pid, began = device.show(UNIT, "MainPID"), time.monotonic()
    device.run(f"systemctl kill -s KILL --kill-whom=main {UNIT}")
    wait_until(lambda: device.show(UNIT, "MainPID") not in (pid, "0"), 60, "another process")
    wait_until(lambda: device.show(UNIT, "ActiveState") == "active", 60, "active again")
    return time.monotonic() - began
