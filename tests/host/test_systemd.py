"""The notifier talks to a real datagram socket, as systemd's is."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.host.systemd import STATUS_MAX_CHARS, Notifier


class Manager:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": address}

    def messages(self) -> list[str]:
        received = []
        while True:
            try:
                received.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return received


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    with tempfile.TemporaryDirectory() as folder:
        manager = Manager(f"{folder}/notify" if request.param == "path" else f"@countenance-test-{os.getpid()}")
        yield manager
        manager.socket.close()


def test_a_life_is_told_in_order_and_an_unchanged_status_once(manager: Manager) -> None:
    notifier = Notifier(manager.environ)
    notifier.status("loading the model")
    notifier.ready("camera running, broker connected")
    notifier.status("camera running, broker connected")
    notifier.stopping()
    assert manager.messages() == [
        "STATUS=loading the model",
        "READY=1\nSTATUS=camera running, broker connected",
        "STOPPING=1\nSTATUS=stopping",
    ]


def test_a_status_cannot_smuggle_another_assignment_nor_a_password(manager: Manager) -> None:
    notifier = Notifier(manager.environ)
    notifier.status("camera gone: rtsp://me:hunter2@cam\nREADY=1 " + "x" * 1000)
    (message,) = manager.messages()
    assert message.startswith("STATUS=camera gone: rtsp://me:***@cam READY=1 ")
    assert "\n" not in message
    assert len(message) == len("STATUS=") + STATUS_MAX_CHARS


def test_the_watchdog_is_passed_on_four_times_a_period_however_often_it_is_fed(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("edge_agent.host.systemd.time.monotonic", lambda: now)
    notifier = Notifier({**manager.environ, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())})
    assert notifier.watchdog_s == 20.0
    for now in (1000.0 + step / 10 for step in range(200)):  # noqa: B007 (read by the clock above)
        notifier.watchdog()
    assert manager.messages() == ["WATCHDOG=1"] * 4


def test_a_watchdog_meant_for_another_process_is_not_fed(manager: Manager) -> None:
    notifier = Notifier({**manager.environ, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid() + 1)})
    notifier.watchdog()
    assert notifier.watchdog_s is None
    assert manager.messages() == []


@pytest.mark.parametrize("usec", ["", "0", "-1", "soon"])
def test_an_unusable_watchdog_period_means_no_watchdog(usec: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "/nonexistent", "WATCHDOG_USEC": usec})
    assert notifier.watchdog_s is None


def test_outside_systemd_nothing_happens() -> None:
    notifier = Notifier({})
    notifier.ready("hello")
    notifier.watchdog()
    notifier.stopping()
    assert notifier.watchdog_s is None


def test_a_manager_that_is_gone_is_reported_once_and_the_agent_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.ready("one")
    notifier.status("two")
    assert [record.message for record in caplog.records] == ["systemd not reachable"]
