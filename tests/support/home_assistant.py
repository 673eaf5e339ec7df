"""A real Home Assistant on loopback: in a Debian tree, since it wants a newer Python than this machine has.

The tree takes 2 GB and a few minutes, once. Home Assistant runs in a mount namespace of its own and is asked over its
own HTTP and WebSocket interfaces, as its page does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.support.broker import free_port, is_open, wait_until
from tests.support.trees import debian_tree

VERSION = "2026.11.0"
PACKAGES = (
    "python3.14,python3.14-venv,python3.14-dev,gcc,g++,libffi-dev,libssl-dev,ca-certificates,libturbojpeg0,pkg-config,"
    "make,zlib1g-dev"
)
REQUIREMENTS = (
    f"homeassistant=={VERSION}", "home-assistant-frontend==20261028.4", "paho-mqtt==2.1.0", "SQLAlchemy==2.0.54",
    "fnv-hash-fast==2.0.3", "psutil-home-assistant==0.0.1", "hassil==3.12.1", "home-assistant-intents==2026.10.27",
    "mutagen==1.48.1", "PyTurboJPEG==1.8.3", "numpy==2.3.2", "aiodhcpwatcher==1.2.7", "ha-ffmpeg==3.2.2",
    "aiohasupervisor==0.8.1", "infrared-protocols==10.5.0", "rf-protocols==4.3.0", "gazetteer-matcher==1.1.0",
)  # fmt: skip
CONFIGURATION = """\
homeassistant:
  name: Test
  latitude: 52.0
  longitude: 13.0
  elevation: 30
  unit_system: metric
  time_zone: UTC
  country: DE
frontend:
history:
recorder:
  commit_interval: 1
"""
HANDLERS = ("mqtt", "template", "components.sensor", "recorder", "entity", "registry", "countenance")
CLIENT = "http://127.0.0.1/"


def home_assistant_tree() -> Path:
    """Debian's next release with Home Assistant in /opt/ha."""
    tree = debian_tree("forky", "amd64", PACKAGES, "home-assistant", ('--aptopt=Acquire::Check-Valid-Until "false"',))
    complete = tree / "opt" / "ha" / "complete"
    if not complete.exists():
        for name in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
            shutil.copy(f"/{name}", tree / name)
        install = f"python3.14 -m venv /opt/ha && /opt/ha/bin/pip install -q --no-cache-dir {' '.join(REQUIREMENTS)}"
        subprocess.run(_inside(tree, install), check=True, timeout=2400)
        complete.touch()
    return tree


def _inside(tree: Path, script: str, config: Path | None = None) -> list[str]:
    """A command that runs ``script`` with the tree as its root and ``config`` as its /config."""
    (tree / "config").mkdir(exist_ok=True)
    binds = [("/proc", "proc"), ("/dev", "dev"), *([(str(config), "config")] if config else [])]
    mounts = "; ".join(f"mount --bind {source} {tree}/{target}" for source, target in binds)
    clean = "env -i PATH=/opt/ha/bin:/usr/bin:/bin HOME=/root PIP_CERT=/etc/ssl/certs/ca-certificates.crt LANG=C.UTF-8"
    return ["unshare", "-m", "bash", "-ec", f"{mounts}; exec chroot {tree} {clean} bash -ec '{script}'"]


class HomeAssistant:
    """A context manager; the broker is added by :meth:`add_mqtt`."""

    def __init__(self, directory: Path) -> None:
        self._tree, self.directory, self.port = home_assistant_tree(), directory, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: ClientConnection | None = None
        self._number = 0
        self._token = ""
        storage = directory / ".storage"
        storage.mkdir(parents=True)
        (directory / "configuration.yaml").write_text(CONFIGURATION)
        stable = {
            "server_host": ["127.0.0.1"],
            "server_port": self.port,
            "cors_allowed_origins": [],
            "login_attempts_threshold": -1,
            "ip_ban_enabled": True,
            "ssl_profile": "intermediate_v6",
            "use_x_frame_options": True,
            "created_at": "2026-11-01T00:00:00+00:00",
            "error": None,
            "error_message": None,
        }
        http = {"stable": stable, "pending": None, "yaml_migration_done": True}
        (storage / "http").write_text(json.dumps({"version": 3, "minor_version": 1, "key": "http", "data": http}))

    def __enter__(self) -> HomeAssistant:
        self.start()
        self._token = self._onboard()
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Run it, and wait until it has started."""
        with (self.directory / "said").open("ab") as log:
            command = _inside(self._tree, "exec hass -c /config --skip-pip", self.directory)
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: is_open(self.port), 180, lambda: f"Home Assistant: {self.said()[-2000:]}")
        if self._token:
            self._open()

    def stop(self) -> None:
        """As a service manager does."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._process = None

    def said(self) -> str:
        """Its log."""
        return (self.directory / "said").read_text(errors="replace")

    def complaints(self) -> list[str]:
        """Warnings and errors of those of its parts that handle what we say, and every one that names us."""
        bad = [line for line in self.said().splitlines() if " WARNING (" in line or " ERROR (" in line]
        return [line for line in bad if any(name in line.lower() for name in HANDLERS)]

    def _onboard(self) -> str:
        """Make the first user, as the page does."""
        user = {"name": "A", "username": "a", "password": "a long password", "client_id": CLIENT, "language": "en"}
        code = self._post("/api/onboarding/users", json=user)["auth_code"]
        form = {"grant_type": "authorization_code", "code": code, "client_id": CLIENT}
        return str(self._post("/auth/token", data=form)["access_token"])

    def _post(self, path: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        answer = httpx.post(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=60, **body)
        assert answer.status_code in (200, 201), f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    def add_mqtt(self, port: int) -> None:
        """Add the integration through its own dialogue."""
        flow = self._post("/api/config/config_entries/flow", json={"handler": "mqtt"})
        broker = {
            "broker": "127.0.0.1",
            "port": port,
            "protocol": "5",
            "other_settings": {"set_client_cert": False, "set_ca_cert": "off"},
        }
        done = self._post(f"/api/config/config_entries/flow/{flow['flow_id']}", json=broker)
        assert done["type"] == "create_entry", done

    # -- what its page asks over the WebSocket --------------------------------------------------------------------

    def _open(self) -> None:
        self._socket = connect(f"ws://127.0.0.1:{self.port}/api/websocket", max_size=None)
        self._socket.recv(30)
        self._socket.send(json.dumps({"type": "auth", "access_token": self._token}))
        assert json.loads(self._socket.recv(30))["type"] == "auth_ok"
        self._number = 0
        wait_until(lambda: self.ask("get_config")["state"] == "RUNNING", 120, "Home Assistant runs")

    def ask(self, kind: str, **fields: Any) -> Any:
        """One command and its result."""
        assert self._socket is not None
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "type": kind, **fields}))
        while (answer := json.loads(self._socket.recv(30))).get("id") != self._number:
            pass
        assert answer["success"], answer
        return answer["result"]

    def states(self) -> dict[str, dict[str, Any]]:
        """Every entity that has a state, by its id."""
        return {state["entity_id"]: state for state in self.ask("get_states")}

    def devices(self) -> dict[str, dict[str, Any]]:
        """Our devices, by device.id."""
        found = {}
        for device in self.ask("config/device_registry/list"):
            for domain, name in device["identifiers"]:
                if domain == "mqtt" and name.startswith("countenance_"):
                    found[name.removeprefix("countenance_")] = device
        return found

    def entities(self, device: str) -> dict[str, dict[str, Any]]:
        """The entities of a device by the key of their component, e.g. "happy"."""
        prefix = f"ctn_{device}_"
        every = self.ask("config/entity_registry/list")
        return {e["unique_id"].removeprefix(prefix): e for e in every if e["unique_id"].startswith(prefix)}

    def state(self, device: str, key: str) -> str:
        """What an entity shows; "" if there is none."""
        entity = self.entities(device).get(key)
        return str(self.states().get(entity["entity_id"], {}).get("state", "")) if entity else ""

    def wait_for_state(self, device: str, key: str, expected: str, timeout_s: float = 20.0) -> None:
        """Until an entity shows this."""
        wait_until(
            lambda: self.state(device, key) == expected,
            timeout_s,
            lambda: f"{device} {key}: {expected}; it is {self.state(device, key)}",
        )

    def call(self, domain: str, service: str, device: str, key: str) -> None:
        """Use a switch or a button."""
        target = {"entity_id": self.entities(device)[key]["entity_id"]}
        self.ask("call_service", domain=domain, service=service, target=target)
