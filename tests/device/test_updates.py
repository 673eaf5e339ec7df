"""Updates of models on a booted Debian: fetched, tried and switched to; each program with its own rights.

The tests follow one another, as a device's days do: each begins where the one before it ended.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.support.broker import wait_until
from tests.support.container import Container
from tests.support.model_releases import TINY, Owned, crowd, make_repository
from tests.support.programs import require
from tests.support.releases import CONFIG, UNIT, binds, install, journal, make_release, one_message, wait_for_broker
from tests.support.trees import SYSTEM, debian_tree

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

UPDATE = "countenance-update"
MODELS = "/var/lib/countenance-models"
SITE = """\
device: {id: porch}
camera: {backend: replay, source: /shown/crowd.png, fps: 5}
detector: {kind: built_in}
faces: {still_s: 0}
window: {seconds: 2}
privacy: {min_people: 3, acknowledged_use: true}
updates: {source: /models}
mqtt: {health_s: 2}
"""


SWITCH_ON = (
    "install -m 0644 /models/metadata/1.root.json /etc/countenance/models-root.json",
    "useradd --system --user-group --no-create-home --groups countenance --home-dir /var/lib/countenance-models "
    "--shell /usr/sbin/nologin countenance-updates",
    "cp /opt/countenance/current/systemd/countenance-update.* /etc/systemd/system/",
    "systemctl daemon-reload",
    "systemctl enable --now countenance-update.timer countenance-update.path",
)
"""As docs/updates.md says."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("updates")


@pytest.fixture(scope="module")
def owned(work: Path) -> Owned:
    owned = make_repository(work / "owned")
    owned.release("r1", TINY)
    return owned


@pytest.fixture(scope="module")
def device(work: Path, owned: Owned) -> Iterator[Container]:
    """A booted system with a broker, a crowd before its camera, and a repository of models."""
    require("systemd-nspawn", "systemd-container")
    tree = debian_tree("bookworm", "amd64", SYSTEM)
    first = make_release(work / "first")
    (work / "shown").mkdir()
    assert cv2.imwrite(str(work / "shown" / "crowd.png"), crowd())
    shown = [(work / "shown", "/shown"), (owned.folder, "/models"), *binds("first", first)]
    with Container(tree, work / "console.log", shown) as container:
        wait_for_broker(container)
        container.run("mkdir -p /etc/countenance")
        container.write(CONFIG, SITE)
        code, said = install(container, "first")
        assert code == 0, said
        for command in SWITCH_ON:
            container.run(command)
        yield container
    shutil.rmtree(work, ignore_errors=True)


def state(device: Container) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(device.run(f"cat {MODELS}/state.json"))
    return told


def in_use(device: Container) -> str | None:
    """What the running agent says of itself."""
    model: Any = one_message(device, "countenance/porch/info")["model"]
    release: str | None = model["release"]
    return release


def becomes(device: Container, release: str | None) -> None:
    wait_until(lambda: in_use(device) == release, 120, f"{release} in use; {journal(device)[-3000:]}")


def test_the_updater_is_there_and_does_nothing_before_it_is_asked(device: Container) -> None:
    for unit in (f"{UPDATE}.timer", f"{UPDATE}.path"):
        assert device.show(unit, "ActiveState") == "active"
    assert in_use(device) is None
    assert not device.run(f"ls {MODELS}/state.json 2>/dev/null", check=False)


def test_the_timer_takes_a_release_the_agent_tries_it_and_switches(device: Container) -> None:
    device.run(f"systemctl start {UPDATE}.service", timeout_s=200)
    assert state(device)["candidate"] == "r1"
    becomes(device, "r1")
    assert state(device)["current"] == "r1"
    assert "passes beside the present model" in journal(device)
    told: Any = one_message(device, "countenance/porch/health")["model"]
    assert (told["release"], told["latest"], told["channel"]) == ("r1", "r1", "stable")
    assert told["agreement"] > 50
    assert device.show(UNIT, "NRestarts") == "0", "it switched within one process"


def test_each_program_has_its_own_rights(device: Container) -> None:
    assert (
        device.run(f"stat -c %U {MODELS} {MODELS}/state.json {MODELS}/releases/r1").split()
        == ["countenance-updates"] * 3
    )
    agent, updater = "runuser -u countenance --", "runuser -u countenance-updates --"
    assert device.attempt(f"{agent} touch {MODELS}/releases/r1/x").returncode != 0
    assert device.attempt(f"{agent} cat {MODELS}/releases/r1/release.json").returncode == 0
    assert device.attempt(f"{updater} cat /var/lib/countenance/windows.sqlite").returncode != 0
    assert device.attempt(f"{updater} touch /var/lib/countenance/x").returncode != 0
    exposure = device.run(f"systemd-analyze security --no-pager {UPDATE}.service").splitlines()[-1]
    assert float(exposure.split(":")[1].split()[0]) <= 2.0, exposure
