"""Each check is made to find the trouble it is there for; cameras are replays, the broker is a real mosquitto."""

import importlib.util
import json
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.cli import doctor
from edge_agent.cli.doctor import broker as broker_checks
from edge_agent.cli.doctor import camera, faces, machine, packages, seeing, service
from edge_agent.cli.doctor.check import Check, Status, failed, ok, warning
from edge_agent.cli.doctor.onward import next_steps
from edge_agent.cli.main import main
from edge_agent.config import Config
from edge_agent.errors import CameraError
from edge_agent.host.machine import decode_throttled
from tests.support.broker import Broker, Subscriber, free_port
from tests.support.faces import astronaut_bgr


def config_of(**sections: Any) -> Config:
    return Config.model_validate({"device": {"id": "porch"}, **sections})


def statuses(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.status.value for check in checks}


def picture(folder: Path, mean: float, spread: float) -> Path:
    noise = np.random.default_rng(1).normal(mean, spread, (120, 160, 3)).clip(0, 255).astype(np.uint8)
    path = folder / "picture.png"
    cv2.imwrite(str(path), noise)
    return path


# -- the report ---------------------------------------------------------------------------------------------------


def test_a_line_says_status_name_detail_and_fix() -> None:
    assert str(warning("disk", "12 MB free", "make room")) == "warning  disk         12 MB free -> make room"
    assert str(ok("clock", "synchronised")) == "ok       clock        synchronised"


def test_only_a_failed_check_fails_the_command() -> None:
    lines: list[str] = []
    assert doctor.report([ok("a", "fine"), warning("b", "so so", "mend")], as_json=False, write=lines.append) == 0
    assert doctor.report([ok("a", "fine"), failed("b", "bad", "mend")], as_json=False, write=lines.append) == 1
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("running", "installed", "first"),
    [
        (True, True, "nothing is to be done"),
        (False, True, "sudo systemctl restart"),
        (False, False, "edge-agent run -c"),
    ],
)
def test_it_ends_with_what_to_do_next(
    running: bool, installed: bool, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "is_running", lambda: running)
    monkeypatch.setattr(service, "is_installed", lambda: installed)
    config, lines = config_of(kiosk={"enabled": True}, mqtt={"enabled": False}), list[str]()
    onward = partial(next_steps, config, Path("my.yaml"))
    doctor.report([ok("a", "fine")], as_json=False, write=lines.append, onward=onward)
    assert lines[1].startswith(f"next     {first}")
    assert lines[2:] == ["next     open the page: http://127.0.0.1:8765/"]


def test_what_failed_comes_first_and_without_a_file_there_is_setup() -> None:
    done = [failed("camera", "none", "plug it in"), failed("broker", "down", "start it")]
    assert next_steps(config_of(), None, done) == [
        "fix what failed (camera: plug it in, and 1 more), then run the doctor again"
    ]
    assert next_steps(config_of(), None, [ok("a", "fine")])[0].startswith("edge-agent setup ")


def test_json_is_one_object() -> None:
    lines: list[str] = []
    doctor.report([ok("a", "fine"), failed("b", "bad", "mend")], as_json=True, write=lines.append)
    assert json.loads("".join(lines)) == {
        "ok": False,
        "checks": [
            {"name": "a", "status": "ok", "detail": "fine", "fix": None},
            {"name": "b", "status": "failed", "detail": "bad", "fix": "mend"},
        ],
        "next": [],
    }


def test_one_broken_part_does_not_hide_the_others_and_no_password_is_shown() -> None:
    def gone(_config: Config) -> Iterator[Check]:
        raise CameraError("opencv camera rtsp://me:hunter2@cam: cannot open the stream; check address")

    def defect(_config: Config) -> Iterator[Check]:
        raise ZeroDivisionError("division by zero")

    def well(_config: Config) -> list[Check]:
        return [ok("well", "fine")]

    checks = list(doctor.run(config_of(), [("camera", gone), ("odd", defect), ("well", well)]))
    assert statuses(checks) == {"camera": "failed", "odd": "failed", "well": "ok"}
    assert checks[0].detail == "opencv camera rtsp://me:***@cam: cannot open the stream"
    assert checks[0].fix == "check address"
    assert "ZeroDivisionError" in checks[1].detail


# -- the camera ---------------------------------------------------------------------------------------------------


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "WARM_UP_S", 0.1)
    monkeypatch.setattr(camera, "MEASURE_S", 0.5)


@pytest.mark.usefixtures("_quick")
def test_the_frame_rate_is_measured(tmp_path: Path) -> None:
    source = str(picture(tmp_path, 120, 40))
    checks = list(camera.examine(config_of(camera={"backend": "replay", "source": source, "fps": 20})))
    assert statuses(checks) == {"camera": "ok", "frame rate": "ok", "exposure": "ok", "faces": "ok"}
    assert "nobody" in checks[3].detail
    assert "160x120" in checks[0].detail
    assert float(checks[1].detail.split()[0]) == pytest.approx(20, rel=0.2)


@pytest.mark.usefixtures("_quick")
def test_a_camera_slower_than_asked_is_a_warning() -> None:
    sample = camera.Sample(frames_per_s=6.0, last=np.zeros((2, 2, 3), np.uint8))
    check = camera._rate(config_of(camera={"fps": 15}).camera, sample)
    assert check.status is Status.WARNING
    assert check.detail.startswith("6.0 frames a second of the 15")


@pytest.mark.usefixtures("_quick")
def test_a_film_that_ends_at_once_is_too_short_to_tell(tmp_path: Path) -> None:
    source = str(picture(tmp_path, 120, 40))
    checks = list(camera.examine(config_of(camera={"backend": "replay", "source": source, "loop": False})))
    assert statuses(checks)["frame rate"] == "warning"


@pytest.mark.parametrize(
    ("mean", "spread", "status", "word"),
    [
        (120, 40, "ok", "brightness"),
        (15, 10, "warning", "too dark"),
        (245, 20, "warning", "washed out"),
        (90, 0, "failed", "empty picture"),
    ],
)
def test_the_light_is_judged(mean: float, spread: float, status: str, word: str, tmp_path: Path) -> None:
    check = camera.exposure(cv2.imread(str(picture(tmp_path, mean, spread))))
    assert check.status.value == status
    assert word in check.detail


@pytest.mark.parametrize(
    ("change", "wrong", "fix"),
    [
        (lambda image: image, None, None),
        (lambda image: cv2.rotate(image, cv2.ROTATE_180), "upside down", "set camera.rotate_deg to 180"),
        (lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE), "on their side", "to 270"),
        (
            lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
            "on their side",
            "set camera.rotate_deg to 90",
        ),
        (lambda image: image // 24, "too dark", "light"),
    ],
)
def test_what_is_wrong_with_the_faces_in_view_is_said(change, wrong, fix) -> None:
    """By what the whole-frame detector takes for a face, so that the way it is found does not matter."""
    face = np.ascontiguousarray(change(astronaut_bgr()[70:170, 175:275]))
    (check,) = faces.examine(face, config_of(detector={"kind": "whole_frame"}))
    assert check.status is (Status.OK if wrong is None else Status.WARNING)
    if wrong is not None:
        assert wrong in check.detail
        assert fix in check.fix


def test_a_detector_without_landmarks_leaves_the_roll_unknown() -> None:
    (check,) = seeing.examine_detector(config_of(detector={"kind": "whole_frame"}))
    assert "lean is unknown" in check.detail


def test_a_camera_that_is_not_there_fails_with_its_own_words() -> None:
    checks = list(doctor.run(config_of(camera={"source": "/dev/video-none"}), [("camera", camera.examine)]))
    assert statuses(checks) == {"camera": "failed"}
    assert "/dev/video-none does not exist" in checks[0].detail
    assert "ls /dev/v4l/by-id" in checks[0].fix


@pytest.mark.parametrize(
    ("state", "said", "status", "told"),
    [
        ("active", "camera running, 15 frames/s", "ok", "countenance.service says: camera running, 15 frames/s"),
        ("reloading", "camera running", "ok", "countenance.service says: camera running"),
        ("active", "camera starting", "warning", "countenance.service says: camera starting"),
        ("active", "camera gone (no /dev/video7)", "failed", "countenance.service says: camera gone (no /dev/video7)"),
        ("active", "camera stalled (no new picture)", "failed", "camera stalled"),
        ("active", "paused", "failed", "countenance.service says: paused"),
        ("inactive", "", "failed", "/dev/video-none does not exist"),
    ],
)
def test_the_running_service_is_asked_for_the_camera_that_it_holds(
    state: str, said: str, status: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_systemctl(tmp_path, f"$(if [ $1 = show ]; then echo '{said}'; else echo {state}; fi)", monkeypatch)
    checks = list(doctor.run(config_of(camera={"source": "/dev/video-none"}), [("camera", camera.examine)]))
    assert statuses(checks) == {"camera": status}
    assert told in checks[0].detail
    assert (status == "ok") is (checks[0].fix == "")


def test_without_systemd_the_service_is_not_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not service.is_running()
    assert service.groups() == set()


# -- the broker ---------------------------------------------------------------------------------------------------


def test_a_good_broker_is_asked_four_things_and_keeps_nothing(broker: Broker) -> None:
    config = config_of(mqtt={"port": broker.port})
    with Subscriber(broker.port, "countenance/porch/#") as subscriber:
        checks = list(broker_checks.examine(config))
        (message,) = subscriber.wait_for("/doctor")
    assert list(statuses(checks)) == ["broker name", "broker link", "broker login", "broker publish"]
    assert {check.status for check in checks} == {Status.OK}
    assert message.json == {"doctor": "hello"}
    with Subscriber(broker.port, "countenance/#") as late:
        list(broker_checks.examine(config))
        assert not any(message.retain for message in late.wait_for("/doctor"))


def test_a_running_agent_is_not_thrown_out(broker: Broker) -> None:
    """A second client of the same id would take over the agent's session."""
    list(broker_checks.examine(config_of(mqtt={"port": broker.port})))
    assert " as countenance-porch " not in broker.log()
    assert "countenance-porch-doctor" in broker.log()


def test_an_unknown_name_stops_at_the_first_step() -> None:
    checks = list(broker_checks.examine(config_of(mqtt={"host": "no-such-host.invalid"})))
    assert statuses(checks) == {"broker name": "failed"}


def test_a_broker_that_is_down_stops_at_the_second_step() -> None:
    checks = list(broker_checks.examine(config_of(mqtt={"port": free_port()})))
    assert statuses(checks) == {"broker name": "ok", "broker link": "failed"}
    assert "refused" in checks[1].detail


def test_a_wrong_password_is_named_as_such(tmp_path: Path, broker: Broker) -> None:
    broker.extra = "allow_anonymous false"
    broker.restart()
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    mqtt = {"port": broker.port, "username": "porch", "password_file": str(secret)}
    checks = list(broker_checks.examine(config_of(mqtt=mqtt)))
    assert statuses(checks)["broker login"] == "failed"
    assert "Not authorized" in checks[-1].detail
    assert not any("hunter2" in str(check) for check in checks)


def test_the_password_of_the_service_is_found_where_the_installer_put_it(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run by hand, the doctor has no credential from systemd."""
    users = tmp_path / "users"
    users.write_text("porch:hunter2\n")
    subprocess.run(["mosquitto_passwd", "-U", str(users)], check=True)
    users.chmod(0o600)
    broker.extra = f"allow_anonymous false\npassword_file {users}"
    broker.restart()
    config = config_of(mqtt={"port": broker.port, "username": "porch"})
    assert statuses(list(broker_checks.examine(config)))["broker login"] == "failed"
    installed = tmp_path / "mqtt_password"
    installed.write_text("hunter2\n")
    monkeypatch.setattr(broker_checks, "INSTALLED_PASSWORD", installed)
    assert statuses(list(broker_checks.examine(config)))["broker login"] == "ok"


def test_a_user_who_may_not_publish_is_told_so(tmp_path: Path, broker: Broker) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic read #\n")
    broker.extra = f"allow_anonymous true\nacl_file {rules}"
    broker.restart()
    checks = list(broker_checks.examine(config_of(mqtt={"port": broker.port})))
    assert statuses(checks)["broker publish"] == "failed"
    assert "countenance/porch/doctor" in checks[-1].detail


def test_a_broker_that_hangs_up_is_a_failed_login() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def hang_up() -> None:
            server.settimeout(5)
            for _ in range(3):
                server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        checks = list(broker_checks.examine(config_of(mqtt={"port": port})))
        thread.join()
    assert statuses(checks)["broker login"] == "failed"


def test_without_mqtt_there_is_nothing_to_check() -> None:
    (check,) = broker_checks.examine(config_of(mqtt={"enabled": False}))
    assert check.status is Status.OK


# -- the machine --------------------------------------------------------------------------------------------------


def test_room_for_the_store_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "windows.sqlite"
    (check,) = machine.examine_disk(config_of(store={"path": str(path)}))
    assert check.status is Status.OK
    (check,) = machine.examine_disk(config_of(store={"path": str(path), "max_mb": 1_000_000}))
    assert check.status is Status.WARNING
    assert "store.max_mb" in check.fix


def test_a_folder_that_may_not_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's user is played by ``nobody``, who owns no folder."""
    monkeypatch.setattr(service, "ACCOUNT", "nobody")
    if machine._account() is None:
        pytest.skip("needs root, to become another user")
    checks = list(machine.examine_permissions(config_of(store={"path": "/root/windows.sqlite"})))
    assert checks[0].status is Status.FAILED
    assert checks[0].detail == "nobody may not write /root"
    assert checks[0].fix.startswith("sudo chown nobody /root,")


def test_a_folder_that_is_not_there_is_named_and_no_other_is_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """``chown`` of the nearest folder that exists would give /var/lib, say, to the service."""
    monkeypatch.setattr(service, "ACCOUNT", "nobody")
    if machine._account() is None:
        pytest.skip("needs root, to become another user")
    check = next(iter(machine.examine_permissions(config_of(store={"path": "/root/no/such/windows.sqlite"}))))
    assert check.detail == "/root/no/such is not there, and nobody may not make it"
    assert check.fix.startswith("sudo install -d -o nobody /root/no/such,")


def test_nobody_is_told_to_take_its_folder_from_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sudo it is the caller who is asked, and whose rights do not matter."""
    monkeypatch.setattr(service, "ACCOUNT", pwd.getpwuid(tmp_path.stat().st_uid).pw_name)
    monkeypatch.setattr(machine, "_account", lambda: None)
    monkeypatch.setattr(machine, "_may", lambda *_: False)
    check = next(iter(machine.examine_permissions(config_of(store={"path": str(tmp_path / "windows.sqlite")}))))
    assert check.status is Status.WARNING
    assert check.fix.startswith("run this with sudo")


def play_systemctl(folder: Path, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl = folder / "systemctl"
    systemctl.write_text(f"#!/bin/sh\necho {answer}\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(("given", "may"), [("", False), ("audio video", True)])
def test_the_groups_that_the_unit_gives_count(
    given: str, may: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cameras belong to the group video, which the service has from its unit and not from /etc/group."""
    monkeypatch.setattr(service, "ACCOUNT", "nobody")
    if machine._account() is None:
        pytest.skip("needs root, to become another user")
    play_systemctl(tmp_path, given, monkeypatch)
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        Path(folder).chmod(0o755)
        node = Path(folder) / "video0"
        node.touch()
        shutil.chown(node, "root", "video")
        node.chmod(0o660)
        assert machine._may("nobody", "-r", node) is may


def test_no_camera_of_this_machine_is_asked_for_a_network_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Raspberry Pi has a dozen /dev/video* without any camera, which that drop-in closes to the service."""
    monkeypatch.setattr(machine, "_camera_nodes", lambda *_: [failed("permissions", "asked", "")])
    shown = [
        any(check.detail == "asked" for check in machine.examine_permissions(config_of(camera={"source": source})))
        for source in ("rtsp://camera/live", "/dev/video0", 0)
    ]
    assert shown == [False, True, True]


def test_a_folder_of_ones_own_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "ACCOUNT", "no-such-user")
    config = config_of(store={"path": str(tmp_path / "w.sqlite")}, camera={"backend": "replay"})
    assert statuses(list(machine.examine_permissions(config))) == {"permissions": "ok"}


@pytest.mark.parametrize(("synchronised", "status"), [(True, "ok"), (False, "warning")])
def test_the_clock_is_judged(synchronised: bool, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "kernel_clock_synchronised", lambda: synchronised)
    assert statuses(list(machine.examine_clock(config_of()))) == {"clock": status}


@pytest.mark.parametrize(("celsius", "status"), [(None, "ok"), (55.0, "ok"), (83.0, "warning")])
def test_heat_is_judged(celsius: float | None, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "temperature_c", lambda: celsius)
    monkeypatch.setattr(machine, "throttling", lambda: None)
    assert statuses(list(machine.examine_temperature(config_of()))) == {"temperature": status}


@pytest.mark.parametrize(
    ("bits", "status", "detail", "fix"),
    [
        ("0x0", "ok", "none since boot", ""),
        ("0x10000", "warning", "under voltage since boot", "power supply"),
        ("0x4", "warning", "throttled", "heat sink"),
    ],
)
def test_throttling_is_explained(bits: str, status: str, detail: str, fix: str) -> None:
    reasons = decode_throttled(bits)
    assert reasons is not None
    check = machine._throttling(reasons)
    assert (check.status.value, check.detail) == (status, detail)
    assert fix in check.fix


# -- the packages -------------------------------------------------------------------------------------------------


def test_this_environment_has_no_conflict() -> None:
    (check,) = packages.examine(config_of())
    assert check.status is Status.OK, check
    assert "numpy" in check.detail


def test_tflite_runtime_beside_numpy_2_is_a_conflict() -> None:
    (check,) = packages.examine(config_of(), {"tflite-runtime": "2.14.0", "numpy": "2.0.1"}.get)
    assert check.status is Status.FAILED
    assert "tflite-runtime dies with numpy 2.0.1" in check.detail


@pytest.mark.parametrize("apart", [False, True])
def test_two_opencv_overwrite_each_other_in_one_folder_only(
    apart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment that sees the system's packages may have another one there."""
    for name in ("opencv_python", "opencv_python_headless"):
        site = tmp_path / (name if apart else "site-packages")
        info = site / f"{name}-4.11.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Name: {name.replace('_', '-')}\nVersion: 4.11.0\n")
        monkeypatch.syspath_prepend(site)
    (check,) = packages.examine(config_of())
    assert check.status is (Status.OK if apart else Status.FAILED), check
    assert ("overwrite each other" in check.detail) is not apart


def test_litert_beside_tflite_runtime_and_numpy_2_is_no_conflict() -> None:
    installed = {"tflite-runtime": "2.14.0", "ai-edge-litert": "2.1.0", "numpy": "2.0.1"}
    (check,) = packages.examine(config_of(), installed.get)
    assert check.status is Status.OK


def test_a_missing_picamera2_is_named_with_its_apt_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "APT_PACKAGES", tmp_path)  # this machine may have apt's numpy
    (check,) = packages.examine(config_of(camera={"backend": "picamera2"}))
    assert check.status is Status.FAILED
    assert "apt install python3-picamera2" in check.fix


def test_what_the_page_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without python-multipart the page answers, and fails at the first form: nothing else would tell."""
    present = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "multipart" in name else present(name))
    (check,) = packages.examine(config_of(kiosk={"enabled": True}))
    assert (check.status, check.detail) == (Status.WARNING, "the page needs python-multipart")
    assert all(check.status is Status.OK for check in packages.examine(config_of(kiosk={"enabled": False})))


@pytest.mark.parametrize(("kind", "installed", "hidden"), [("egg", "1.24.2", False), ("dist", "1.26.4", True)])
def test_a_numpy_that_hides_the_one_of_apt_is_found(
    kind: str, installed: str, hidden: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"numpy-1.24.2.{kind}-info").mkdir()
    monkeypatch.setattr(packages, "APT_PACKAGES", tmp_path)
    config = config_of(camera={"backend": "picamera2"})
    checks = list(packages.examine(config, {"numpy": installed}.get))
    assert any("hides apt's 1.24.2" in check.detail for check in checks) is hidden


# -- the command --------------------------------------------------------------------------------------------------


def test_the_command_prints_json_and_exits_by_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("camera: {source: /dev/video-none}\nmqtt: {enabled: false}\n")
    assert main(["doctor", "-c", str(file), "--json"]) == 1
    found = {check["name"]: check["status"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found["camera"] == "failed"
    assert {"packages", "model", "detector", "broker", "disk", "permissions", "clock"} <= set(found)
