"""A real Home Assistant finds the devices, shows what they measure, works switch and button, and does not complain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import Config
from edge_agent.types import CameraState
from tests.support.broker import Broker, free_port, wait_until
from tests.support.home_assistant import HomeAssistant
from tests.support.publishing import INFO, Rig, publishing
from tests.support.windows import LABELS

pytestmark = [pytest.mark.device, pytest.mark.timeout(2700)]

PERCENT = {"unit_of_measurement": "%", "state_class": "measurement"}
EXPECTED: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    **dict.fromkeys(LABELS, ("sensor", None, PERCENT)),
    **{f"rolling_{label}": ("sensor", None, PERCENT) for label in LABELS},
    **dict.fromkeys(("people", "rolling_people"), ("sensor", None, {"state_class": "measurement"})),
    "camera": ("binary_sensor", None, {"device_class": "problem"}),
    "pause": ("switch", None, {}),
    "identify": ("button", "config", {"device_class": "identify"}),
    "temperature": ("sensor", "diagnostic", {"device_class": "temperature", "unit_of_measurement": "°C"}),
    "frame_rate": ("sensor", "diagnostic", {"state_class": "measurement"}),
    "pending": ("sensor", "diagnostic", {"state_class": "measurement"}),
    "memory": ("sensor", "diagnostic", {"device_class": "data_size", "unit_of_measurement": "MB"}),
}
NAMES = ["Foyer", "Eingang Süd", "入口", "مدخل", "Вход", "🙂", "Hall 'A' \"B\" {{ 1 }}", "x" * 64]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    keep = f"allow_anonymous true\npersistence true\npersistence_location {folder}/"
    with Kept(folder, keep, free_port()) as running:
        yield running


class Kept(Broker):
    """Keeps what is retained through a restart."""

    def configuration(self) -> str:
        return f"listener {self.port} 127.0.0.1\n{self.extra}\n"


@pytest.fixture(scope="module")
def home(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeAssistant]:
    with HomeAssistant(tmp_path_factory.mktemp("home")) as running:
        running.add_mqtt(broker.port)
        yield running
        # It may say that it lost the broker, which was stopped for a while.
        lost = ("The connection was lost", "Connection reset by peer")
        complaints = [line for line in running.complaints() if not any(text in line for text in lost)]
        assert complaints == [], "its log has no warning"


def a_device(folder: Path, broker: Broker, device: str, name: str | None = None, **mqtt: Any) -> Config:
    """With windows of two seconds, so that three missing ones are soon noticed."""
    (folder / device).mkdir(parents=True, exist_ok=True)
    return Config.model_validate(
        {
            "device": {"id": device, "name": name},
            "window": {"seconds": 2},
            "store": {"path": str(folder / device / "windows.sqlite")},
            "mqtt": {"port": broker.port, "reconnect_max_s": 1, "health_s": 2, **mqtt},
        }
    )


def show(home: HomeAssistant, rig: Rig, device: str, people: int | None, expected: str, key: str = "people") -> None:
    """Windows of so many people until Home Assistant shows this."""

    def shown() -> bool:
        rig.append(1, people=people, window_s=2.0)
        time.sleep(0.3)
        return home.state(device, key) == expected

    wait_until(shown, 30, lambda: f"{key} {expected}; {home.state(device, key)} is shown")


def test_two_devices_appear_with_every_entity_of_theirs(home: HomeAssistant, broker: Broker, tmp_path: Path) -> None:
    hall, yard = a_device(tmp_path, broker, "hall"), a_device(tmp_path, broker, "yard")
    with publishing(hall, "h1") as one, publishing(yard, "y1") as two:
        wait_until(lambda: {"hall", "yard"} <= set(home.devices()), 30, "both devices")
        assert [home.devices()[key]["name"] for key in ("hall", "yard")] == ["Countenance hall", "Countenance yard"]
        show(home, one, "hall", 5, "5")
        show(home, two, "yard", 7, "7")
        wait_until(lambda: set(home.entities("hall")) == set(EXPECTED), 20, lambda: f"all of {home.entities('hall')}")
        states, entities = home.states(), home.entities("hall")
        for key, (platform, category, attributes) in EXPECTED.items():
            entity = entities[key]
            assert entity["entity_id"].startswith(f"{platform}.countenance_hall_"), entity
            assert entity["entity_category"] == category, key
            shown = states[entity["entity_id"]]["attributes"]
            assert {name: shown.get(name) for name in attributes} == attributes, key
        assert sum(float(home.state("hall", label)) for label in LABELS) == pytest.approx(100.0, abs=0.05)
        assert not any(entity["entity_id"].endswith("_2") for entity in entities.values())


def test_what_is_withheld_or_nobody_is_unknown(home: HomeAssistant, broker: Broker, tmp_path: Path) -> None:
    with publishing(a_device(tmp_path, broker, "hall"), "h2") as rig:
        show(home, rig, "hall", 5, "5")
        show(home, rig, "hall", None, "unknown")
        assert {home.state("hall", label) for label in LABELS} == {"unknown"}
        show(home, rig, "hall", 0, "0")
        assert {home.state("hall", label) for label in LABELS} == {"unknown"}
        # Three windows without news: nobody knows.
        show(home, rig, "hall", 5, "5")
        wait_until(lambda: home.state("hall", "happy") == "unavailable", 20, "unavailable without news")
        assert home.state("hall", "pause") == "off", "the device is there"
        show(home, rig, "hall", 5, "5")
    home.wait_for_state("hall", "pause", "unavailable")
    assert home.state("hall", "people") == "unavailable", "after a farewell, too"


def test_a_camera_that_is_gone_shows_as_a_problem(home: HomeAssistant, broker: Broker, tmp_path: Path) -> None:
    with publishing(a_device(tmp_path, broker, "hall"), "h10") as rig:
        home.wait_for_state("hall", "camera", "off")
        for camera, shown in ((CameraState.GONE, "on"), (CameraState.RUNNING, "off")):
            rig.controls.live.update(camera=camera)
            rig.publisher.wake()
            home.wait_for_state("hall", "camera", shown)


def test_pause_and_identify_work_from_there(home: HomeAssistant, broker: Broker, tmp_path: Path) -> None:
    with publishing(a_device(tmp_path, broker, "hall"), "h3") as rig:
        home.wait_for_state("hall", "pause", "off")
        home.call("switch", "turn_on", "hall", "pause")
        home.wait_for_state("hall", "pause", "on")
        home.call("switch", "turn_off", "hall", "pause")
        home.wait_for_state("hall", "pause", "off")
        home.call("button", "press", "hall", "identify")
        wait_until(lambda: rig.controls.calls == ["pause", "resume", "identify"], what=lambda: str(rig.controls.calls))


def test_restarts_of_agent_broker_and_home_assistant_lose_nothing(
    home: HomeAssistant, broker: Broker, tmp_path: Path
) -> None:
    config = a_device(tmp_path, broker, "hall")
    with publishing(config, "h4") as rig:
        show(home, rig, "hall", 4, "4")
        broker.stop()
        home.wait_for_state("hall", "people", "unavailable", 60)
        broker.start()
        wait_until(lambda: home.state("hall", "pause") == "off", 90, "the device is back after the broker")
        show(home, rig, "hall", 6, "6")
        home.stop()
        home.start()
        wait_until(lambda: home.state("hall", "pause") == "off", 60, "the device is back after Home Assistant")
        show(home, rig, "hall", 8, "8")
    with publishing(config, "h5") as rig:
        show(home, rig, "hall", 9, "9")
    assert set(home.entities("hall")) == set(EXPECTED)


def test_discovery_off_takes_the_device_away_and_on_brings_it_back(
    home: HomeAssistant, broker: Broker, tmp_path: Path
) -> None:
    with publishing(a_device(tmp_path, broker, "hall"), "h6"):
        home.wait_for_state("hall", "pause", "off")
    with publishing(a_device(tmp_path, broker, "hall", discovery=False), "h7") as rig:
        wait_until(lambda: "hall" not in home.devices(), 20, "the device goes")
        rig.append()
        rig.wait_delivered()
    assert home.entities("hall") == {}
    with publishing(a_device(tmp_path, broker, "hall"), "h8"):
        home.wait_for_state("hall", "pause", "off")
        assert set(home.entities("hall")) == set(EXPECTED)


def test_a_model_with_other_labels_leaves_no_frozen_sensor(home: HomeAssistant, broker: Broker, tmp_path: Path) -> None:
    config = a_device(tmp_path, broker, "yard")
    with publishing(config, "y2") as rig:
        show(home, rig, "yard", 5, "5")
    fewer = replace(INFO, labels=("happy", "neutral", "contempt"))
    with publishing(config, "y3", fewer) as rig:
        wait_until(lambda: "contempt" in home.entities("yard"), 20, "the new label")
        wait_until(lambda: "angry" not in home.entities("yard"), 20, "the old one goes")
        show(home, rig, "yard", 6, "6")
        show(home, rig, "yard", 6, "unknown", "contempt")  # these windows do not know it
        assert {"angry", "disgust", "fear", "sad", "surprise"}.isdisjoint(home.entities("yard"))
    with publishing(config, "y4") as rig:
        show(home, rig, "yard", 7, "7")
        wait_until(lambda: set(home.entities("yard")) == set(EXPECTED), 20, lambda: str(set(home.entities("yard"))))


def test_names_of_any_script_are_shown_as_they_are(home: HomeAssistant, broker: Broker, tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        device = f"named-{number}"
        with publishing(a_device(tmp_path, broker, device, name), f"n{number}") as rig:
            wait_until(lambda device=device: device in home.devices(), 30, name)
            assert home.devices()[device]["name"] == name
            show(home, rig, device, 5, "5")
            assert set(home.entities(device)) == set(EXPECTED), name


def test_emotions_have_long_term_statistics(home: HomeAssistant, broker: Broker, tmp_path: Path) -> None:
    with publishing(a_device(tmp_path, broker, "hall"), "h9") as rig:
        show(home, rig, "hall", 5, "5")
        entity = home.entities("hall")["happy"]["entity_id"]
        known = {each["statistic_id"]: each for each in home.ask("recorder/list_statistic_ids")}
        assert known[entity]["statistics_unit_of_measurement"] == "%"
        assert known[entity]["has_mean"] or known[entity].get("mean_type") == 1
        assert home.entities("hall")["people"]["entity_id"] in known
        issues = home.ask("recorder/validate_statistics")
        assert not {entity["entity_id"] for entity in home.entities("hall").values()} & set(issues), issues
