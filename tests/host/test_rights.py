"""Commands of somebody who may not look into the service's folder: another way, or a line that says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.detectors.yunet_file import FILE_NAME
from edge_agent.errors import DetectorError, StoreError
from edge_agent.host.rights import is_barred
from tests.support.faces import write_astronaut
from tests.support.unprivileged import closed, edge_agent


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The service's folder with its files; the contents do not matter to those who cannot read them."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(b"YuNet")
    (folder / "windows.sqlite").write_bytes(b"windows")
    return folder


def settings(tmp_path: Path, text: str) -> str:
    path = tmp_path / "agent.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("place", "advice"), [("of the service", "run this with sudo"), ("of the user", "get it with: sudo edge-agent")]
)
def test_a_detector_that_is_out_of_reach_is_not_here(place: str, advice: str, state: Path, tmp_path: Path) -> None:
    """Where it lies in the service's folder, fetching it once more would not help."""
    picture = str(write_astronaut(tmp_path / "face.jpg"))
    homes = {"XDG_DATA_HOME": str(state if place == "of the user" else tmp_path / "home")}
    with closed(state):
        at = state if place == "of the service" else tmp_path / "empty"
        done = edge_agent("predict", "--json", "--detector", "yunet", picture, state=at, **homes)
    assert done.returncode == DetectorError.exit_code
    assert advice in done.stderr


def test_a_configured_detector_that_is_out_of_reach_is_an_error(state: Path, tmp_path: Path) -> None:
    config = settings(tmp_path, f"detector: {{kind: yunet, path: {state / FILE_NAME}}}\n")
    with closed(state):
        done = edge_agent("predict", "-c", config, str(write_astronaut(tmp_path / "face.jpg")))
    assert done.returncode == DetectorError.exit_code
    assert done.stderr == (
        f"edge-agent: {state / FILE_NAME}: detector.path may not be read by this user; run this with sudo\n"
    )


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_store_that_is_out_of_reach_asks_for_sudo(what: str, state: Path, tmp_path: Path) -> None:
    config = settings(tmp_path, f"store: {{path: {state / 'windows.sqlite'}}}\n")
    with closed(state if what == "folder" else state / "windows.sqlite"):
        done = edge_agent("export", "-c", config, "-o", str(tmp_path / "out.csv"))
    assert done.returncode == StoreError.exit_code
    assert done.stderr == (
        f"edge-agent: {state / 'windows.sqlite'}: this user may not read the store; run this with sudo\n"
    )
    assert list(tmp_path.glob("out.csv*")) == []


def test_the_doctor_looks_at_what_it_may(state: Path, tmp_path: Path) -> None:
    text = f"store: {{path: {state / 'windows.sqlite'}}}\nmqtt: {{enabled: false}}\ndetector: {{kind: yunet}}\n"
    config = settings(tmp_path, text)
    with closed(state):
        done = edge_agent("doctor", "--json", "-c", config, state=state, XDG_DATA_HOME=str(tmp_path / "home"))
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert "defect" not in done.stdout
    assert "free at" in checks["disk"]["detail"]
    assert checks["detector"]["status"] == "failed"
    assert "run this with sudo" in checks["detector"]["fix"]


def test_what_is_not_there_is_not_barred(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not is_barred(tmp_path / "absent")
    assert not is_barred(tmp_path / "file" / "below")
    assert not is_barred(tmp_path / "file")
