"""`edge-agent demo` and `watch`, as a newcomer types them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.cameras.picture_files import read_picture
from edge_agent.cli.bars import Screen, bars
from edge_agent.cli.demo import FILM_FRAMES, make_film
from edge_agent.cli.example_day import write_example_day
from edge_agent.cli.main import main
from edge_agent.cli.watch import Message, subscribe
from edge_agent.config import MqttConfig
from edge_agent.store.store import EXAMPLE
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model
from tests.support.agent_process import AgentProcess
from tests.support.broker import Subscriber, free_port, wait_until
from tests.support.stores import config_for, opened

EMOTIONS = {"angry": 0.0, "disgust": 0.0, "fear": 0.1, "happy": 99.9, "sad": 0.0, "surprise": 0.0, "neutral": 0.0}
MESSAGE = {
    "device": "shop",
    "window_start": "2026-11-22T10:00:00.000Z",
    "frames": 40,
    "people": 3,
    "suppressed": False,
    "percentages": EMOTIONS,
}


def test_the_demo_shows_what_came_back_from_its_broker_and_ends_with_0():
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "demo", "--seconds", "12"], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"happy +█+", done.stdout)
    assert re.search(r"[1-9]\d* windows came back from the broker", done.stdout)
    assert f"{sys.executable} -m edge_agent watch --port" in done.stdout
    assert "privacy.min_people: 1" in done.stdout


def test_the_demo_can_be_subscribed_to_and_its_page_read_while_it_runs(tmp_path):
    with AgentProcess("demo", "--seconds", "60", folder=tmp_path) as demo:
        match = wait_until(lambda: re.search(r"watch --port (\d+)", demo.log), 60)
        page = re.search(r"http://\S+/", demo.log)
        with subscribe(MqttConfig(port=int(match[1])), "countenance/demo/emotions") as messages:
            assert messages.get(timeout=60).window()["people"] == 1
        assert page is not None
        with urllib.request.urlopen(page[0]) as answer:
            assert b"Example: the day before the live figures is made up." in answer.read()
        with urllib.request.urlopen(f"{page[0]}api/history?from=-86400&bucket=3600") as answer:
            hours = [bucket for bucket in json.load(answer)["buckets"] if bucket["percentages"]]
            assert len(hours) >= 15, "a day, less its night"
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(20) == 0


def test_the_demo_takes_the_environment_but_keeps_its_own_broker_and_store(tmp_path):
    """It advises COUNTENANCE_LOG__LEVEL=debug itself; whatever names a real device's things must not reach it."""
    environ = {
        **os.environ,
        "COUNTENANCE_LOG__LEVEL": "info",
        "COUNTENANCE_MQTT__PORT": str(free_port()),
        "COUNTENANCE_STORE__PATH": str(tmp_path / "real.sqlite"),
    }
    command = [sys.executable, "-m", "edge_agent", "demo", "--seconds", "15"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert " info agent: ready device=demo " in done.stderr
    assert list(tmp_path.iterdir()) == []
    done = subprocess.run(command, env={**environ, "COUNTENANCE_LOG__LEVEL": "loud"}, capture_output=True, text=True)
    assert done.returncode == 78
    assert "environment variable COUNTENANCE_LOG__LEVEL: log.level: 'loud' is wrong" in done.stderr


def test_the_demo_leaves_nothing_behind(tmp_path):
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "edge_agent", "demo", "--seconds", "6"], env=environ, timeout=90)
    assert list(tmp_path.iterdir()) == []


def test_the_film_is_of_one_moving_face_and_closes_its_loop(tmp_path):
    folder = make_film(tmp_path / "film")
    paths = sorted(folder.iterdir())
    assert len(paths) == sum(FILM_FRAMES.values())
    ends = (0, 1, FILM_FRAMES["one"] - 1)
    first, second, last = (read_picture(paths[number]).astype(int) for number in ends)
    assert abs(first - second).mean() > 0
    assert abs(first - last).mean() < 3 * abs(first - second).mean()


def test_a_webcam_that_is_not_there_is_told_in_each_window():
    command = [sys.executable, "-m", "edge_agent", "demo", "--camera", "97", "--seconds", "10"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert "Your camera 97 goes through" in done.stdout
    assert "no picture from the camera" in done.stdout


def test_the_example_day_is_marked_and_waits_for_no_broker(tmp_path):
    classifier = Classifier(load_model())
    write_example_day(config_for(tmp_path), classifier)
    with opened(config_for(tmp_path)) as store:
        windows = list(store.history())
        assert store.has_example
        assert store.pending() == []
    assert {window.session for window in windows} == {EXAMPLE}
    assert {window.model for window in windows} == {classifier.id}
    shares = [window.report.shares for window in windows if window.report.shares]
    assert len(shares) > 100
    assert all(one.method == "adjusted_means" and one.people >= 4 for one in shares)


def test_bars_are_as_long_as_the_percentages():
    lines = bars(MESSAGE)
    assert lines[0] == "shop  2026-11-22 10:00:00 UTC  3 people on 40 frames"
    assert [line.split()[0] for line in lines[1:]] == list(EMOTIONS)
    happy = next(line for line in lines if "happy" in line)
    assert happy.count("█") == 29
    assert happy.endswith(" 99.9 %")


def test_a_withheld_and_an_empty_window_say_so_instead_of_zeros():
    withheld = {**MESSAGE, "people": None, "suppressed": True, "percentages": None}
    assert bars(withheld) == ["shop  2026-11-22 10:00:00 UTC  too few people to show"]
    assert bars({**MESSAGE, "people": 0, "percentages": None})[0].endswith("nobody here")
    assert bars({**MESSAGE, "frames": 0, "people": None, "percentages": None})[0].endswith("no picture from the camera")


def test_watch_draws_what_a_device_publishes(broker, tmp_path):
    arguments = ("watch", "--host", "127.0.0.1", "--port", str(broker.port))
    with AgentProcess(*arguments, folder=tmp_path) as watching, Subscriber(broker.port, "x") as sender:
        wait_until(lambda: "watching countenance/+/emotions" in watching.log, 20)
        sender.client.publish("countenance/shop/emotions", json.dumps(MESSAGE), qos=1)
        wait_until(lambda: "3 people on 40 frames" in watching.log, 10)
        assert watching.stop(signal.SIGINT) == 0
        assert "Traceback" not in watching.log


NO_WINDOWS = {
    "no JSON": "not json",
    "no text": b"\xff\xfe",
    "deep": "[" * 100_000,
    "no object": "[1]",
    "nothing in it": "{}",
    "a field is missing": {key: MESSAGE[key] for key in MESSAGE if key != "frames"},
    "a wrong type": {**MESSAGE, "window_start": 5},
    "a number that is none": {**MESSAGE, "percentages": {**EMOTIONS, "happy": float("nan")}},
    "an empty share": {**MESSAGE, "percentages": {}},
    "a name that moves the cursor": {**MESSAGE, "device": "\x1b[2J"},
    "an emotion that moves the cursor": {**MESSAGE, "percentages": {**EMOTIONS, "\x1b[2J": 1.0}},
}


def test_watch_skips_what_is_no_window_with_a_line_and_goes_on(broker, tmp_path):
    """Anyone may publish on the topic, so nobody may be able to end or deface everyone's watching."""
    arguments = ("watch", "--port", str(broker.port))
    with AgentProcess(*arguments, folder=tmp_path) as watching, Subscriber(broker.port, "x") as sender:
        wait_until(lambda: "watching countenance/+/emotions" in watching.log, 20)
        for payload in NO_WINDOWS.values():
            text = json.dumps(payload) if isinstance(payload, dict) else payload
            sender.client.publish("countenance/x/emotions", text, qos=1)
        sender.client.publish("countenance/shop/emotions", json.dumps(MESSAGE), qos=1)
        wait_until(lambda: "3 people on 40 frames" in watching.log, 10)
        assert watching.stop(signal.SIGINT) == 0
        assert "skipped a message that is no window topic=countenance/x/emotions" in watching.log
        assert "Traceback" not in watching.log
        assert "\x1b" not in watching.log


@pytest.mark.parametrize("payload", NO_WINDOWS.values(), ids=NO_WINDOWS)
def test_each_message_that_is_no_window_is_told_with_its_reason(payload, caplog):
    text = json.dumps(payload) if isinstance(payload, dict) else payload
    assert Message("countenance/x/emotions", text if isinstance(text, bytes) else text.encode()).window() is None
    (record,) = caplog.records
    assert record.reason


def test_a_redrawn_screen_leaves_what_came_between_alone():
    """Over a pseudo-terminal, as on a real one."""
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal:
        screen = Screen(terminal)
        for lines in (["one"], ["two"]):
            screen.show(lines)
        screen.begin_below()
        screen.show(["three"])
    written = b""
    with os.fdopen(master, "rb", buffering=0) as read, suppress(OSError):  # EIO: no other end any more
        while part := read.read(1000):
            written += part
    assert written == b"one\r\n\x1b[1F\x1b[Jtwo\r\nthree\r\n"


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--port", "0", "greater than or equal to 1"),
        ("--port", "x", "valid integer"),
        ("--device", "#", "level of MQTT topics"),
        ("--host", "", "at least 1 character"),
        ("--host", "a..b", "parts of 1 to 63"),
    ],
)
def test_watch_options_follow_the_rules_of_the_configuration(capsys, option, value, reason):
    with pytest.raises(SystemExit) as ended:
        main(["watch", option, value])
    assert ended.value.code == 2
    assert re.search(rf"argument {option}: '{value}' is wrong: .*{reason}", capsys.readouterr().err)


def test_watch_without_a_broker_says_so_and_ends_with_8(capsys):
    assert main(["watch", "--port", str(free_port())]) == 8
    assert "is it running" in capsys.readouterr().err


def test_watch_refused_by_the_broker_says_why(tmp_path, capsys):
    from tests.support.broker import Broker

    (tmp_path / "none").touch()
    (tmp_path / "none").chmod(0o644)
    with Broker(tmp_path / "broker", f"allow_anonymous false\npassword_file {Path(tmp_path / 'none')}") as strict:
        assert main(["watch", "--port", str(strict.port)]) == 8
    assert "Not authorized" in capsys.readouterr().err
