"""The whole way, in a real process with a real broker: from a picture to percentages on a topic."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import pytest

from edge_agent.vision.model import default_model_path
from edge_agent.vision.tracking import Settings as TrackingSettings
from tests.support.agent_process import AgentProcess, configure
from tests.support.broker import Broker, Subscriber, free_port, wait_until
from tests.support.faces import write_astronaut
from tests.support.mjpeg import MjpegCamera
from tests.support.windows import LABELS

CAPTURED = "/emotions"
ROOT = Path(__file__).parents[1]


def run(path: Path, **options) -> AgentProcess:
    return AgentProcess("run", "-c", path, folder=path.parent, **options)


def rows(store: Path) -> list[tuple]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        return database.execute("SELECT seq, frames, people FROM windows ORDER BY seq").fetchall()


def test_percentages_of_a_real_face_arrive_on_the_topic(broker, tmp_path):
    path = configure(tmp_path, mqtt={"port": broker.port})
    with Subscriber(broker.port, "countenance/#") as subscriber, run(path) as agent:
        second = subscriber.wait_for(CAPTURED, 2, 30)[1]
        assert agent.stop() == 0
    window = second.json
    assert second.qos == 1
    assert not second.retain
    assert window["device"] == "test"
    assert window["people"] == 1
    assert window["frames"] > 1
    assert tuple(window["percentages"]) == LABELS
    assert sum(round(v * 10) for v in window["percentages"].values()) == 1000
    assert max(window["percentages"], key=window["percentages"].get) == "happy"  # she smiles
    assert window["window_start"].endswith("Z")
    assert 0.9 < window["window_s"] < 5.0  # 1.0 is configured; a window of a busy machine closes late
    states = [message.json["state"] for message in subscriber.of("/status")]
    assert states[0] == "online"
    assert states[-1] == "stopped"


def test_the_status_is_retained_and_turns_offline_when_the_agent_is_killed(broker, tmp_path):
    path = configure(tmp_path, mqtt={"port": broker.port, "keepalive_s": 5})
    with run(path) as agent, Subscriber(broker.port, "countenance/+/status") as early:
        early.wait_for("/status", 1, 30)
        with Subscriber(broker.port, "countenance/+/status") as late:
            assert late.wait_for("/status")[0].retain
            agent.process.kill()
            wait_until(lambda: late.of("/status")[-1].json["state"] == "offline", 15)
            assert late.of("/status")[-1].json["session"] == early.of("/status")[0].json["session"]


def test_windows_measured_while_the_broker_was_down_arrive_when_it_appears(tmp_path):
    later = Broker(tmp_path / "broker")
    path = configure(tmp_path, mqtt={"port": later.port, "reconnect_max_s": 1})
    with run(path) as agent:
        wait_until(lambda: "ready" in agent.log and len(rows(tmp_path / "windows.sqlite")) >= 3, 30)
        with later, Subscriber(later.port, "countenance/#") as subscriber:
            history = subscriber.wait_for("/emotions/history", 3, 30)
            live = subscriber.wait_for(CAPTURED, 1, 30)
            assert [m.json["seq"] for m in history] == sorted(m.json["seq"] for m in history)
            assert all(m.json["historical"] for m in history)
            assert not live[0].json["historical"]
            assert agent.stop() == 0
    assert "windows are kept and sent later" in agent.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_closes_the_open_window_and_ends_with_0(tmp_path, number):
    path = configure(tmp_path, mqtt={"enabled": False}, window={"seconds": 3600})
    with run(path) as agent:
        wait_until(lambda: "camera running" in agent.log, 30)
        time.sleep(2.0)  # a face counts once it was seen for a moment
        assert agent.stop(number) == 0
    ((_seq, frames, people),) = rows(tmp_path / "windows.sqlite")
    assert frames > 0
    assert people == 1


@pytest.mark.parametrize("delay_s", [0.0, 0.15, 0.3, 0.6, 1.0])
def test_sigterm_at_any_moment_of_the_start_ends_cleanly_or_by_the_signal(tmp_path, delay_s):
    path = configure(tmp_path)
    with run(path) as agent:
        time.sleep(delay_s)
        assert agent.stop() in (0, -signal.SIGTERM)
        assert "Traceback" not in agent.log
    with run(path) as agent:  # and nothing is left that stops the next start
        wait_until(lambda: "ready" in agent.log, 30)


def test_what_readme_starts_on_a_laptop_keeps_its_windows_where_it_was_started(tmp_path, monkeypatch):
    """An ordinary user may not write the service's folder; here a picture replaces the camera."""
    (name,) = re.findall(r"    edge-agent run -c (configs/\S+)", (ROOT / "README.md").read_text())
    environ = {
        "COUNTENANCE_CAMERA__BACKEND": "replay",
        "COUNTENANCE_CAMERA__SOURCE": str(write_astronaut(tmp_path / "astronaut.png")),
        "COUNTENANCE_MQTT__PORT": str(free_port()),
        "COUNTENANCE_KIOSK__PORT": str(free_port()),
    }
    monkeypatch.chdir(tmp_path)
    with AgentProcess("run", "-c", ROOT / name, folder=tmp_path, environ=environ) as agent:
        wait_until(lambda: "camera running" in agent.log, 30)
        with urlopen(f"http://127.0.0.1:{environ['COUNTENANCE_KIOSK__PORT']}/") as page:
            assert b"<html" in page.read()
        assert agent.stop() == 0
    assert len(rows(tmp_path / "windows.sqlite")) == 1


def test_a_film_that_ends_ends_the_agent_with_all_its_frames_read(broker, tmp_path):
    folder = tmp_path / "film"
    folder.mkdir()
    write_astronaut(folder / "0.png")
    for number in range(1, 12):
        shutil.copy(folder / "0.png", folder / f"{number:02d}.png")
    path = configure(
        tmp_path,
        camera={"source": str(folder), "fps": 0, "loop": False},
        mqtt={"port": broker.port},
        window={"seconds": 3600},
    )
    with Subscriber(broker.port, "countenance/#") as subscriber, run(path) as agent:
        assert agent.process.wait(60) == 0
        assert subscriber.wait_for(CAPTURED)[0].json["frames"] == 12
    assert rows(tmp_path / "windows.sqlite") == [(1, 12, 1)]


def test_reload_takes_a_good_configuration_and_keeps_the_old_one_before_a_bad_one(tmp_path):
    path = configure(tmp_path, mqtt={"enabled": False})
    with run(path) as agent:
        wait_until(lambda: "ready" in agent.log, 30)
        good = path.read_text()
        path.write_text(good + "nonsense: 1\n")
        agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration refused" in agent.log, 10)
        path.write_text(good.replace("id: test", "id: renamed"))
        agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "device=renamed" in agent.log, 30)
        assert agent.stop() == 0


def test_a_configuration_that_turns_out_not_to_work_is_given_up_for_the_old_one(tmp_path):
    """It is valid, but the page does not have the language. A device without anybody near it must continue."""
    path = configure(tmp_path, mqtt={"enabled": False})
    with run(path) as agent:
        wait_until(lambda: "ready" in agent.log, 30)
        path.write_text(path.read_text() + "kiosk: {enabled: true, language: xx}\n")
        agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the old one stays in use" in agent.log, 30)
        wait_until(lambda: " ready" in agent.log.split("the old one stays in use")[1], 30)
        count = len(rows(tmp_path / "windows.sqlite"))
        wait_until(lambda: len(rows(tmp_path / "windows.sqlite")) > count + 1, 30)
        assert agent.stop() == 0


def test_a_configuration_whose_camera_cannot_be_read_is_given_up_for_the_old_one(tmp_path):
    """That shows only when the camera is opened, and before any window of the new configuration was closed."""
    path = configure(tmp_path, mqtt={"enabled": False})
    with run(path) as agent:
        wait_until(lambda: "ready" in agent.log, 30)
        path.write_text(path.read_text().replace("astronaut.png", "missing.png"))
        agent.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "missing.png" in agent.log, 30)
        wait_until(lambda: "camera running" in agent.log.split("missing.png")[-1], 30)
        assert agent.stop() == 0


def test_a_reload_that_is_asked_for_during_a_reload_is_not_lost(tmp_path):
    path = configure(tmp_path, mqtt={"enabled": False})
    with run(path) as agent:
        wait_until(lambda: "ready" in agent.log, 30)
        first = path.read_text()
        for name in ("second", "third"):
            path.write_text(first.replace("id: test", f"id: {name}"))
            agent.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)  # longer than a turn of the loop, shorter than loading the model again
        wait_until(lambda: "device=third" in agent.log, 30)
        assert agent.stop() == 0


def test_who_is_there_before_and_after_a_camera_was_away_is_not_two_people(tmp_path):
    """After a gap the tracker knows nobody any more, so the window ends there: two would count as four."""
    stream = MjpegCamera(free_port(), fps=10).start()
    path = configure(
        tmp_path,
        camera={"backend": "opencv", "source": stream.url, "stall_s": 30.0},
        window={"seconds": 600},
        mqtt={"enabled": False},
    )
    with run(path) as agent:
        wait_until(lambda: "camera running" in agent.log, 30)
        time.sleep(2.0)
        stream.silent.set()
        time.sleep(TrackingSettings().doubt_s + 1.0)
        stream.silent.clear()
        wait_until(lambda: len(rows(tmp_path / "windows.sqlite")) == 1, 30)
        time.sleep(2.0)
        assert agent.stop() == 0
    stream.stop()
    assert [people for _, _, people in rows(tmp_path / "windows.sqlite")] == [1, 1]


def test_without_a_camera_nothing_is_said_of_people_and_the_camera_is_named(broker, tmp_path):
    """It was never there; then it comes, and freezes."""
    stream = MjpegCamera(free_port())
    path = configure(
        tmp_path,
        camera={"backend": "opencv", "source": stream.url, "stall_s": 1.0, "reopen_max_s": 1.0},
        mqtt={"port": broker.port, "health_s": 1},
    )
    with Subscriber(broker.port, "countenance/#") as subscriber, run(path) as agent:

        def status() -> dict:
            return subscriber.of("/status")[-1].json

        window = subscriber.wait_for(CAPTURED, 1, 30)[0].json
        assert (window["frames"], window["people"], window["faces"], window["suppressed"]) == (0, None, None, False)
        wait_until(lambda: (status()["camera"], status()["problem"]) == ("gone", True), 20)
        wait_until(lambda: subscriber.of("/health")[-1].json["camera"] == "gone", 20)
        stream.start()
        wait_until(lambda: (status()["camera"], status()["problem"]) == ("running", False), 30)
        wait_until(lambda: subscriber.of(CAPTURED)[-1].json["people"] == 1, 20)
        stream.pictures = stream.pictures[:1]
        wait_until(lambda: (status()["camera"], status()["problem"]) == ("stalled", True), 20)
        seen = len(subscriber.of(CAPTURED))
        wait_until(lambda: len(subscriber.of(CAPTURED)) > seen + 3, 20)
        assert all(message.json["people"] is None for message in subscriber.of(CAPTURED)[seen + 1 :])
        assert agent.stop() == 0
    stream.stop()


def test_a_paused_agent_does_not_open_its_camera_when_it_starts(broker, tmp_path):
    """Paused, a film that is not there is no trouble; it is as soon as somebody resumes."""
    path = configure(tmp_path, mqtt={"port": broker.port})
    with Subscriber(broker.port, "countenance/#") as subscriber:
        with run(path) as agent:
            subscriber.wait_for(CAPTURED, 1, 30)
            subscriber.client.publish("countenance/test/command/pause", b"{}", qos=1)
            subscriber.wait_for("/response")
            assert agent.stop() == 0
        configure(tmp_path, mqtt={"port": broker.port}, camera={"source": "/nonexistent/film.mp4"})
        with run(path) as agent:
            wait_until(lambda: " ready" in agent.log.split(" paused", 1)[1], 30)
            time.sleep(2.0)
            assert agent.process.poll() is None
            subscriber.client.publish("countenance/test/command/resume", b"{}", qos=1)
            assert agent.process.wait(30) == 3


def test_health_counts_frames_before_the_first_window_closes(tmp_path):
    metrics = free_port()
    path = configure(
        tmp_path, mqtt={"enabled": False}, window={"seconds": 600}, metrics={"enabled": True, "port": metrics}
    )
    with run(path) as agent:
        wait_until(lambda: "ready" in agent.log, 30)
        address = f"http://127.0.0.1:{metrics}/metrics"
        wait_until(lambda: re.search(rb"frames_captured_total [1-9]", urlopen(address).read()) is not None, 10)


def test_a_pause_by_mqtt_survives_a_restart(broker, tmp_path):
    path = configure(tmp_path, mqtt={"port": broker.port})
    with Subscriber(broker.port, "countenance/#") as subscriber:
        with run(path) as agent:
            subscriber.wait_for(CAPTURED, 1, 30)
            subscriber.client.publish("countenance/test/command/pause", b'{"transaction": 1}', qos=1)
            assert subscriber.wait_for("/response")[0].json["status"] == "ok"
            wait_until(lambda: " paused" in agent.log, 10)
            seen = len(subscriber.of(CAPTURED))
            time.sleep(2.5)
            assert len(subscriber.of(CAPTURED)) == seen
            agent.stop()
        with run(path) as agent:
            wait_until(lambda: "ready" in agent.log.split(" paused", 1)[1], 30)
            time.sleep(2.0)
            assert len(subscriber.of(CAPTURED)) == seen
            subscriber.client.publish("countenance/test/command/resume", b"{}", qos=1)
            subscriber.wait_for(CAPTURED, seen + 1, 30)


def test_an_absent_camera_is_waited_for(tmp_path):
    stream = MjpegCamera(free_port())
    path = configure(
        tmp_path,
        camera={"backend": "opencv", "source": stream.url, "reopen_max_s": 0.5},
        mqtt={"enabled": False},
    )
    with run(path) as agent:
        wait_until(lambda: "camera gone" in agent.log, 30)
        assert "ready" in agent.log
        stream.start()
        wait_until(lambda: "camera running" in agent.log, 30)
        stream.stop()
        assert agent.stop() == 0


def test_a_camera_that_never_answers_does_not_delay_the_farewell(broker, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        path = configure(tmp_path, camera={"backend": "opencv", "source": url}, mqtt={"port": broker.port})
        with Subscriber(broker.port, "countenance/#") as subscriber, run(path) as agent:
            subscriber.wait_for("/status", 1, 30)
            time.sleep(1.0)
            asked_s = time.monotonic()
            agent.process.send_signal(signal.SIGTERM)
            wait_until(lambda: subscriber.of("/status")[-1].json["state"] == "stopped", 5, "stopped within 5 s")
            assert agent.process.wait(10) == 0
            assert time.monotonic() - asked_s < 8


def broken_model(folder: Path, how: str) -> Path:
    model = default_model_path()
    target = folder / "emotion.tflite"
    shutil.copy(model, target)
    shutil.copy(model.with_suffix(".json"), target.with_suffix(".json"))
    match how:
        case "missing":
            target.unlink()
        case "truncated":
            target.write_bytes(target.read_bytes()[:5000])
        case "not tflite":
            target.write_bytes(b"x" * target.stat().st_size)
        case "another":
            target.write_bytes(target.read_bytes()[:-1] + b"\xff")
        case "label count":
            text = json.loads(target.with_suffix(".json").read_text())
            text["labels"] = text["labels"][:6]
            target.with_suffix(".json").write_text(json.dumps(text))
        case "no json":
            target.with_suffix(".json").unlink()
    return target


@pytest.mark.parametrize(
    ("sections", "code", "reason"),
    [
        ({"camera": {"source": "/nonexistent/film.mp4"}}, 3, "does not exist"),
        ({"detector": {"kind": "yunet", "path": "/nonexistent.onnx"}}, 5, "names no file"),
        ({"model": {"path": "missing"}}, 6, "emotion.tflite"),
        ({"model": {"path": "truncated"}}, 6, "truncated"),
        ({"model": {"path": "not tflite"}}, 6, "not a TFLite file"),
        ({"model": {"path": "another"}}, 6, "belong to different models"),
        ({"model": {"path": "label count"}}, 6, "labels"),
        ({"model": {"path": "no json"}}, 6, "emotion.json"),
        ({"device": {"id": "a/b"}}, 78, "device.id"),
        ({"mqtt": {"password_file": "/nonexistent"}}, 78, "MQTT password"),
        ({"store": {"path": "/proc"}}, 9, "folder"),
    ],
)
def test_what_cannot_work_ends_the_start_with_one_clear_line_and_its_code(tmp_path, sections, code, reason):
    if "model" in sections:
        sections = {"model": {"path": str(broken_model(tmp_path, sections["model"]["path"]))}}
    with run(configure(tmp_path, **sections)) as agent:
        assert agent.process.wait(30) == code
    lines = [line for line in agent.log.splitlines() if line.startswith("edge-agent: ")]
    assert len(lines) == 1
    assert reason in lines[0]
    assert "Traceback" not in agent.log


def test_two_agents_do_not_share_a_store(tmp_path):
    path = configure(tmp_path, mqtt={"enabled": False})
    with run(path) as first:
        wait_until(lambda: "ready" in first.log, 30)
        with run(path) as second:
            assert second.process.wait(30) == 9
        assert "in use by another running agent" in second.log


def test_a_refused_password_is_told_and_windows_are_kept(tmp_path):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "device", "right"], check=True)
    passwords.chmod(0o644)
    with Broker(tmp_path / "broker", f"allow_anonymous false\npassword_file {passwords}") as broker:
        path = configure(tmp_path, mqtt={"port": broker.port, "username": "device", "reconnect_max_s": 1})
        with run(path, environ={"COUNTENANCE_MQTT_PASSWORD": "wrong-hunter2"}) as agent:
            wait_until(lambda: "authori" in agent.log.lower(), 30)
            wait_until(lambda: len(rows(tmp_path / "windows.sqlite")) >= 2, 30)
            assert agent.stop() == 0
        assert "hunter2" not in agent.log
        with (
            run(path, environ={"COUNTENANCE_MQTT_PASSWORD": "right"}) as agent,
            Subscriber(broker.port, "countenance/#", username="device", password="right") as subscriber,
        ):
            subscriber.wait_for("/emotions/history", 2, 30)


def test_importing_the_package_and_asking_for_help_load_nothing_heavy():
    code = (
        "import sys, edge_agent, edge_agent.cli.main\n"
        "try: edge_agent.cli.main.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = 'cv2 numpy pydantic yaml paho tflite_runtime ai_edge_litert tensorflow starlette prometheus_client'\n"
        "print([name for name in heavy.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "exit codes" in done.stdout


def test_ctrl_c_before_a_command_is_done_ends_it_with_130(tmp_path):
    """It hangs on a picture that nobody writes: a named pipe."""
    os.mkfifo(tmp_path / "picture.png")
    with AgentProcess("predict", tmp_path / "picture.png", folder=tmp_path) as reading:
        with (tmp_path / "picture.png").open("wb"):  # returns when the other side has it open
            assert reading.stop(signal.SIGINT) == 130
        assert "Traceback" not in reading.log


def test_the_device_never_imports_training_quantization_or_tensorflow():
    code = (
        "import sys, pkgutil, importlib\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in 'training quantization tensorflow keras sklearn matplotlib'.split():\n"
        "            raise AssertionError(f'the device imports {name}')\n"
        "sys.meta_path.insert(0, Block())\n"
        "import edge_agent\n"
        "for module in pkgutil.walk_packages(edge_agent.__path__, 'edge_agent.'):\n"
        "    importlib.import_module(module.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
