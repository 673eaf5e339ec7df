"""The life of one device, from its installation to its removal, under a real systemd that booted a minimal Debian.

The tests follow one another, as a device's days do: each begins where the one before it ended.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.cli.demo import make_film
from edge_agent.errors import ConfigError, StoreError
from tests.support.broker import wait_until
from tests.support.container import Container
from tests.support.programs import require
from tests.support.releases import (
    CONFIG,
    REPLAY,
    UNIT,
    binds,
    check_that_restarts_slow_down,
    install,
    journal,
    make_release,
    one_message,
    use,
    wait_for_broker,
)
from tests.support.trees import SYSTEM, debian_tree

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

NO_CAMERA = REPLAY.replace("{backend: replay, source: /film, fps: 5}", "{backend: opencv, source: /dev/video-none}")
WATCHED = "find /etc /opt /usr/local /var/lib/countenance /home -xdev 2>/dev/null | sort"


def rename(version: str) -> Callable[[Path], None]:
    def edit(sources: Path) -> None:
        file = sources / "edge_agent" / "__init__.py"
        file.write_text(file.read_text().replace('__version__ = "', f'__version__ = "{version}+'))

    return edit


def never_ready(sources: Path) -> None:
    """A version that starts and works, and never gets to say so."""
    rename("9.2")(sources)
    file = sources / "edge_agent" / "host" / "systemd.py"
    text = file.read_text()
    assert '"READY=1"' in text
    file.write_text(text.replace('"READY=1"', '"X_NOT_READY=1"'))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside the cache, since wheels are linked from there."""
    return tmp_path_factory.mktemp("device")


@pytest.fixture(scope="module")
def device(work: Path) -> Iterator[Container]:
    """A booted system with a broker, a film, and three releases to install from."""
    require("systemd-nspawn", "systemd-container")
    tree = debian_tree("bookworm", "amd64", SYSTEM)
    first = make_release(work / "first")
    better = make_release(work / "better", rename("9.1"), first.wheels)
    broken = make_release(work / "broken", never_ready, first.wheels)
    shown = [(make_film(work / "film"), "/film"), *binds("first", first), *binds("better", better)]
    with Container(tree, work / "console.log", [*shown, *binds("broken", broken)]) as container:
        wait_for_broker(container)
        container.run(f"{WATCHED} >/run/before")
        yield container
    shutil.rmtree(work, ignore_errors=True)


def test_a_first_installation_runs_at_once_and_publishes(device: Container) -> None:
    """The configuration that was there before is not touched."""
    device.run("mkdir -p /etc/countenance")
    device.write(CONFIG, REPLAY)
    code, said = install(device, "first", "--camera", "network-camera")
    assert code == 0, said
    assert "stays as it is" in said
    assert device.run(f"cat {CONFIG}") == REPLAY
    assert device.show(UNIT, "ActiveState") == "active"
    message = one_message(device, "countenance/porch/emotions")
    assert message["device"] == "porch"


def test_status_is_for_people_to_read(device: Container) -> None:
    wait_until(lambda: "camera running" in device.show(UNIT, "StatusText"), 20, "a status line")
    assert "camera running" in device.run(f"systemctl status {UNIT}")


def test_it_runs_as_strictly_as_the_unit_asks(device: Container) -> None:
    """Asked of the running service, not of the file."""
    exposure = device.run(f"systemd-analyze security --no-pager {UNIT}").splitlines()[-1]
    assert float(exposure.split(":")[1].split()[0]) <= 2.0, exposure
    pid = device.show(UNIT, "MainPID")
    status = device.run(f"cat /proc/{pid}/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert device.run(f"stat -c %U /proc/{pid}").strip() == "countenance"
    assert "PYTHONNOUSERSITE=1" in device.run(f"tr '\\0' '\\n' </proc/{pid}/environ").splitlines()
    assert "Max core file size        0" in device.run(f"cat /proc/{pid}/limits")


def test_the_clock_can_be_read_through_the_system_call_filter(device: Container) -> None:
    """A refused adjtimex() would look like a clock that is never synchronised."""
    script = "import ctypes; print(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))"
    command = f"/opt/countenance/current/bin/python -c '{script}'"
    keys = ("SystemCallFilter", "SystemCallErrorNumber")
    unit = device.run(f"systemctl cat {UNIT}").splitlines()
    properties = " ".join(f"-p '{line}'" for line in unit if line.startswith(keys))
    assert int(device.run(f"systemd-run -q --wait --pipe {properties} -p User=countenance {command}")) >= 0


def test_installing_again_changes_nothing(device: Container) -> None:
    before = device.run(f"{WATCHED} | grep -v /__pycache__")
    code, said = install(device, "first")
    assert code == 0, said
    assert "is there already" in said
    assert device.run(f"{WATCHED} | grep -v /__pycache__") == before


def test_a_killed_agent_comes_back_and_goes_on_counting(device: Container) -> None:
    before = one_message(device, "countenance/porch/emotions")
    pid = device.show(UNIT, "MainPID")
    device.run(f"systemctl kill -s KILL --kill-whom=main {UNIT}")
    wait_until(lambda: device.show(UNIT, "MainPID") not in (pid, "0"), 30, "another process")
    wait_until(lambda: device.show(UNIT, "ActiveState") == "active", 60, "active again")
    after = one_message(device, "countenance/porch/emotions")
    assert after["session"] != before["session"], "windows are numbered again in each session"


def test_a_frozen_agent_is_killed_by_the_watchdog_and_comes_back(device: Container) -> None:
    restarts = int(device.show(UNIT, "NRestarts"))
    device.run(f"systemctl kill -s STOP --kill-whom=main {UNIT}")
    wait_until(lambda: int(device.show(UNIT, "NRestarts")) > restarts, 90, "a restart")
    wait_until(lambda: device.show(UNIT, "ActiveState") == "active", 60, "active again")
    assert "Watchdog timeout" in journal(device)
    assert "most recent call first" in journal(device), "the journal shows where each thread hung"


def test_restarts_come_slower_and_slower(device: Container) -> None:
    check_that_restarts_slow_down(device)


def test_without_camera_and_broker_it_waits_longer_than_the_watchdog(device: Container) -> None:
    device.run("systemctl stop mosquitto")
    use(device, NO_CAMERA)
    assert device.show(UNIT, "ActiveState") == "active", journal(device)
    pid = device.show(UNIT, "MainPID")
    time.sleep(float(device.show(UNIT, "WatchdogUSec").rstrip("s")) + 10)
    assert device.show(UNIT, "MainPID") == pid
    assert "camera gone" in device.show(UNIT, "StatusText")
    device.run("systemctl start mosquitto")
    use(device, REPLAY)


def test_a_stop_takes_less_than_five_seconds_and_is_told(device: Container) -> None:
    one_message(device, "countenance/porch/emotions")
    started = time.monotonic()
    device.run(f"systemctl stop {UNIT}")
    assert time.monotonic() - started < 5
    assert device.show(UNIT, "Result") == "success"
    assert one_message(device, "countenance/porch/status")["state"] == "stopped"
    device.run(f"systemctl start {UNIT}")


def test_a_wrong_configuration_is_said_once_and_not_tried_again(device: Container) -> None:
    use(device, REPLAY.replace("fps: 5", "fps: fast"))
    time.sleep(12)  # twice RestartSec
    assert device.show(UNIT, "ActiveState") == "failed"
    assert device.show(UNIT, "NRestarts") == "0"
    assert device.show(UNIT, "ExecMainStatus") == str(ConfigError.exit_code)
    assert "camera.fps" in journal(device)
    code, said = install(device, "better")
    assert code != 0
    assert "nothing was changed" in said
    use(device, REPLAY)


def test_a_reload_takes_a_new_configuration_without_a_restart(device: Container) -> None:
    wait_until(lambda: device.show(UNIT, "ActiveState") == "active", 60, "active")
    pid = device.show(UNIT, "MainPID")
    device.write(CONFIG, REPLAY.replace("porch", "hall"))
    device.run(f"systemctl reload {UNIT}")
    assert one_message(device, "countenance/hall/emotions")["device"] == "hall"
    assert device.show(UNIT, "MainPID") == pid
    assert device.show(UNIT, "ActiveState") == "active"
    use(device, REPLAY)


def test_where_nothing_can_be_written_it_works_from_memory_and_says_so(device: Container) -> None:
    """As on a root file system that is mounted read-only."""
    device.run(f"systemctl stop {UNIT}")
    device.run(
        "mount -t tmpfs -o ro,mode=0750,uid=$(id -u countenance),gid=$(id -g countenance) ro /var/lib/countenance"
    )
    device.run(f"systemctl start {UNIT}")
    wait_until(lambda: "memory" in device.show(UNIT, "StatusText"), 20, "a status line that says so")
    one_message(device, "countenance/porch/emotions")
    device.run(f"systemctl stop {UNIT} && umount /var/lib/countenance && systemctl start {UNIT}")
    wait_until(lambda: "memory" not in device.show(UNIT, "StatusText"), 20, "the status line of every day")


def test_without_its_partition_it_works_from_memory_and_says_so(device: Container) -> None:
    """The partition that docs/device.md recommends is lost, and with it the folder; later both are back."""
    device.run(f"systemctl stop {UNIT} && mv /var/lib/countenance /var/lib/elsewhere")
    device.write(
        "/run/systemd/system/var-lib-countenance.mount",
        "[Mount]\nWhat=/dev/disk/by-label/countenance\nWhere=/var/lib/countenance\nType=no-such-file-system\n",
    )
    device.run(f"systemctl daemon-reload && systemctl start {UNIT}")
    wait_until(lambda: "memory" in device.show(UNIT, "StatusText"), 20, "a status line that says so")
    told = [line for line in journal(device).splitlines() if "kept in memory only" in line]
    assert "/var/lib/countenance/windows.sqlite" in told[-1]
    one_message(device, "countenance/porch/emotions")
    store = one_message(device, "countenance/porch/health")["store"]
    assert isinstance(store, dict)
    assert store["in_memory"] is True
    device.run(f"systemctl stop {UNIT} && rm /run/systemd/system/var-lib-countenance.mount && systemctl daemon-reload")
    device.run(f"rm -rf /var/lib/countenance; mv /var/lib/elsewhere /var/lib/countenance && systemctl start {UNIT}")
    wait_until(lambda: "memory" not in device.show(UNIT, "StatusText"), 20, "the status line of every day")


def test_an_upgrade_keeps_configuration_and_windows(device: Container) -> None:
    before = one_message(device, "countenance/porch/emotions")
    code, said = install(device, "better")
    assert code == 0, said
    assert "/9.1" in device.run("readlink /opt/countenance/current")
    assert device.run(f"cat {CONFIG}") == REPLAY
    after = one_message(device, "countenance/porch/emotions")
    assert int(str(after["seq"])) > int(str(before["seq"]))


def test_an_upgrade_that_never_gets_ready_is_rolled_back(device: Container) -> None:
    """Also to a version that no installer saw become ready, as in an image, where the first boot starts it."""
    device.run("rm -f /opt/countenance/*/.good")
    code, said = install(device, "broken")
    assert code == 1
    assert "rolled back" in said
    assert "/9.1" in device.run("readlink /opt/countenance/current")
    assert "9.2" not in device.run("ls /opt/countenance")
    assert device.show(UNIT, "ActiveState") == "active"
    one_message(device, "countenance/porch/emotions")


def test_an_upgrade_that_was_cut_off_can_still_be_rolled_back(device: Container) -> None:
    """By then `current` names the version that never got ready."""
    cut_off = """
        /broken/systemd/install.sh --wheels /broken-wheels >/run/cut-off 2>&1 & installer=$!
        until readlink /opt/countenance/current | grep -q /9.2; do sleep 0.1; done
        kill -KILL $installer
    """
    device.run(cut_off)
    code, said = install(device, "broken")
    assert code == 1
    assert "rolled back" in said, said
    assert "/9.1" in device.run("readlink /opt/countenance/current")
    assert device.show(UNIT, "ActiveState") == "active"
    one_message(device, "countenance/porch/emotions")


def test_a_password_reaches_the_service_alone(device: Container) -> None:
    device.run("printf 'hunter2\\n' >/run/password && mosquitto_passwd -b -c /etc/mosquitto/users porch hunter2")
    device.run("chown mosquitto /etc/mosquitto/users")
    rules = "allow_anonymous false\nlistener 1883 127.0.0.1\npassword_file /etc/mosquitto/users\n"
    device.write("/etc/mosquitto/conf.d/users.conf", rules)
    device.run("systemctl restart mosquitto")
    device.write(CONFIG, REPLAY.replace("mqtt: {", "mqtt: {username: porch, "))
    code, said = install(device, "better", "--password-file", "/run/password")
    assert code == 0, said
    one_message(device, "countenance/porch/emotions", "-u porch -P hunter2")
    assert device.run("stat -c '%a %U' /etc/countenance/mqtt_password").strip() == "600 root"
    assert "hunter2" not in journal(device)
    pid = device.show(UNIT, "MainPID")
    assert "hunter2" not in device.run(f"tr '\\0' '\\n' </proc/{pid}/environ")


def test_doctor_finds_nothing_wrong_with_it(device: Container) -> None:
    """As a person would ask on the device, while the service runs."""
    report = json.loads(device.run(f"edge-agent doctor -c {CONFIG} --json 2>/dev/null"))
    assert report["ok"], report
    warned = {check["name"] for check in report["checks"] if check["status"] == "warning"}
    assert warned <= {"small groups", "detector", "clock", "exposure", "temperature", "throttling"}


def test_somebody_without_sudo_is_told_what_needs_it(device: Container) -> None:
    """The command is on everybody's PATH; the service's folder is closed."""
    done = device.attempt("runuser -u nobody -- edge-agent export")
    assert (done.returncode, "run this with sudo" in done.stdout) == (StoreError.exit_code, True), done.stdout
    said = device.attempt("runuser -u nobody -- edge-agent doctor").stdout
    assert "defect" not in said, said
    device.run("cp /film/000.jpg /run/face.jpg && runuser -u nobody -- edge-agent predict /run/face.jpg")


def test_doctor_knows_the_groups_that_the_unit_gives(device: Container) -> None:
    """A camera's node is root's and its group's. A file replaces one here, since a container may make no node."""
    node = "/dev/video9"
    device.run(f"touch {node} && chown root:video {node} && chmod 660 {node}")
    device.write("/run/usb.yaml", REPLAY.replace("{backend: replay, source: /film, fps: 5}", "{backend: opencv}"))
    barred = [check for check in doctor(device, "/run/usb.yaml") if node in check["detail"]]
    assert [check["status"] for check in barred] == ["failed"], "--camera network-camera takes the group away"
    assert install(device, "better", "--camera", "usb-camera")[0] == 0
    assert [check for check in doctor(device, "/run/usb.yaml") if node in check["detail"]] == []
    device.run(f"rm {node}")


def doctor(device: Container, config: str) -> list[dict[str, str]]:
    report = json.loads(device.attempt(f"edge-agent doctor -c {config} --json 2>/dev/null").stdout)
    checks: list[dict[str, str]] = report["checks"]
    return checks


def test_uninstalling_keeps_what_was_recorded_and_purging_leaves_no_trace(device: Container) -> None:
    device.run("rm -f /etc/mosquitto/users /etc/mosquitto/conf.d/users.conf")
    device.run("/first/systemd/install.sh --uninstall")
    assert (
        device.attempt("test -e /var/lib/countenance/windows.sqlite -a -e /etc/countenance/agent.yaml").returncode == 0
    )
    assert device.attempt(f"systemctl cat {UNIT}").returncode != 0
    device.run("mount -t tmpfs tmpfs /var/lib/countenance && touch /var/lib/countenance/windows.sqlite")
    device.run("/first/systemd/install.sh --uninstall --purge")
    assert device.run("ls -A /var/lib/countenance; umount /var/lib/countenance") == "", (
        "a partition of its own is emptied"
    )
    device.run("/first/systemd/install.sh --uninstall --purge")
    left = device.run(f"{WATCHED} | diff /run/before - || true")
    assert [line for line in left.splitlines() if line[:1] in "<>" and "countenance" in line] == []
    account_files = ("/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-")
    assert [line[2:] for line in left.splitlines() if line[:1] == ">" and line[2:] not in account_files] == []
    assert device.attempt("getent passwd countenance").returncode != 0
