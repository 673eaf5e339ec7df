"""``edge-agent setup`` in the terminal: a real network camera, a real mosquitto, and the file that comes out."""

from __future__ import annotations

import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.cli.main import main
from edge_agent.cli.setup.placing import BEFORE, place
from edge_agent.config import Config, load_config
from edge_agent.errors import ConfigError
from edge_agent.first_start.answers import BANNED_PLACES, Answers, BrokerAnswer, CameraAnswer, read_answers
from tests.support.broker import Broker, free_port
from tests.support.mjpeg import MjpegCamera


@pytest.fixture(scope="module")
def camera() -> Iterator[MjpegCamera]:
    served = MjpegCamera(free_port()).start()
    yield served
    served.stop()


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    monkeypatch.setattr("edge_agent.cli.setup.questions.found_cameras", lambda: ())


def test_from_the_questions_to_a_configuration_that_the_doctor_takes(
    camera: MjpegCamera,
    broker: Broker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "agent.yaml"
    answer(
        monkeypatch,
        "2", "1", camera.url, "1", "Flur: \"oben\"", "3", "127.0.0.1", "n", str(broker.port), "", "2", "3", "n",
    )  # fmt: skip
    assert main(["setup", "-o", str(file)]) == 0
    told = capsys.readouterr().out
    assert "1 in the picture now, upright and well lit" in told
    assert "broker publish" in told
    assert f"edge-agent run -c {file}" in told
    config = load_config(file, {})
    assert (config.device.name, config.camera.source) == ('Flur: "oben"', camera.url)
    assert (config.mqtt.port, config.kiosk.host, config.kiosk.language) == (broker.port, "0.0.0.0", "de")
    assert config.privacy.acknowledged_use
    assert config.privacy.min_people == Config().privacy.min_people


@pytest.mark.parametrize("number", ["6", "7"])
def test_a_workplace_and_a_school_are_refused_with_the_reason(
    number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, number)
    assert main(["setup", "-o", str(tmp_path / "agent.yaml")]) == ConfigError.exit_code
    assert "banned in the EU" in capsys.readouterr().err
    assert not (tmp_path / "agent.yaml").exists()


def test_a_camera_that_is_not_there_can_be_chosen_again_and_an_end_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, "1", "1", "/etc/passwd", f"http://127.0.0.1:{free_port()}/", "n")
    assert main(["setup", "-o", str(tmp_path / "agent.yaml")]) == ConfigError.exit_code
    told = capsys.readouterr()
    assert "must be a camera from the list" in told.out
    assert told.out.count("Which camera?") == 2
    assert "the input ended" in told.err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_is_said_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["setup", "-o", str(tmp_path / "nowhere" / "agent.yaml")]) == 3
    assert "there is no folder" in capsys.readouterr().err


def test_the_old_configuration_and_a_secret_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("device: {name: before}\n")
    place(Answers(broker=BrokerAnswer(username="ann", password="s3cret: #1"), name="after"), file)
    assert "before" in file.with_name(file.name + BEFORE).read_text()
    assert "s3cret" not in file.read_text()
    password_file = load_config(file, {}).mqtt.password_file
    assert password_file is not None
    assert password_file.read_text() == "s3cret: #1\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (file, password_file)} == {0o640}


def test_answers_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("device: {name: before}\n")
    with pytest.raises(ConfigError, match="no language 'xx'"):
        place(Answers(language="xx", broker=BrokerAnswer(password="new")), file)
    with pytest.raises(ConfigError, match="write host: hub, port: 1883"):
        place(Answers(broker=BrokerAnswer(host="mqtt://hub:1883")), file)
    assert [path.name for path in tmp_path.iterdir()] == ["agent.yaml"]


@pytest.mark.parametrize("source", ["/etc/passwd", "/dev/video0/../mem", "film.mp4", "rtsp://a b", "v4l2src ! x", "-1"])
def test_only_cameras_are_cameras(source: str) -> None:
    with pytest.raises(ConfigError, match="must be a camera from the list"):
        read_answers(json.dumps({"camera": {"source": source}}))


@pytest.mark.parametrize("place_", BANNED_PLACES)
def test_answers_from_anywhere_are_held_to_the_ban(place_: str) -> None:
    with pytest.raises(ConfigError, match="banned in the EU"):
        read_answers(json.dumps({"place": place_}))


def test_a_line_cannot_add_a_setting() -> None:
    with pytest.raises(ConfigError, match="one line of text"):
        read_answers(json.dumps({"name": "hall\nprivacy: {min_people: 1}"}))
    assert CameraAnswer(source="rtsp://u:p@10.0.0.1/x#y").config().source == "rtsp://u:p@10.0.0.1/x#y"
