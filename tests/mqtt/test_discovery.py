"""Home Assistant's discovery message, held against the rules that its documentation states.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload and the pages of the mqtt sensor, switch and
button. The rules are written down here as a schema, since Home Assistant itself is too large to install for a test.
"""

from __future__ import annotations

import copy
import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2
import jinja2.nativetypes  # noqa: F401 (a submodule that jinja2 does not import)
import jsonschema
import pytest

from edge_agent.config import Config
from edge_agent.live import LiveState
from edge_agent.message import encode, window_payload
from edge_agent.mqtt.connection import packet_bytes
from edge_agent.mqtt.discovery import _SHORT, announced_before, components_of, discovery_payload
from edge_agent.mqtt.payloads import status_payload, will_payload
from edge_agent.types import CameraState, StoredWindow, Trouble
from tests.support.publishing import INFO
from tests.support.windows import LABELS, make_report

TOPIC = {"type": "string", "pattern": r"^[^+#\u0000]+$", "maxLength": 65535}
TEXT = {"type": "string", "minLength": 1}
COMMON = {
    "p": {"enum": ["sensor", "binary_sensor", "switch", "button", "update"]},
    "unique_id": TEXT,
    "name": TEXT,
    "icon": {"type": "string", "pattern": "^mdi:[a-z-]+$"},
    "entity_category": {"enum": ["diagnostic", "config"]},
    "value_template": TEXT,
}
SENSOR = {
    "required": ["p", "unique_id", "state_topic"],
    "properties": {
        **COMMON,
        "state_topic": TOPIC,
        "unit_of_measurement": {"enum": ["%", "°C", "MB"]},
        "device_class": {"enum": ["temperature", "data_size"]},
        "state_class": {"enum": ["measurement", "total", "total_increasing"]},
        "suggested_display_precision": {"type": "integer", "minimum": 0},
        "expire_after": {"type": "integer", "minimum": 1},
    },
    "additionalProperties": False,
    # A sensor of the class "diagnostic" may not be "config", which is for what can be changed.
    "not": {"properties": {"entity_category": {"const": "config"}}, "required": ["entity_category"]},
}
SWITCH = {
    "required": ["p", "unique_id", "command_topic"],
    "properties": {
        **COMMON,
        "command_topic": TOPIC,
        "state_topic": TOPIC,
        **dict.fromkeys(("payload_on", "payload_off", "state_on", "state_off"), TEXT),
    },
    "additionalProperties": False,
}
BUTTON = {
    "required": ["p", "unique_id", "command_topic"],
    "properties": {
        **COMMON,
        "command_topic": TOPIC,
        "payload_press": TEXT,
        "device_class": {"enum": ["identify", "restart", "update"]},
    },
    "additionalProperties": False,
}
UPDATE = {
    "required": ["p", "unique_id"],
    "properties": {**COMMON, "command_topic": TOPIC, "state_topic": TOPIC, "payload_install": TEXT},
    "additionalProperties": False,
}
DEVICE = {
    "type": "object",
    "required": ["dev", "o", "cmps"],
    "additionalProperties": False,
    "properties": {
        "dev": {
            "type": "object",
            "required": ["ids"],
            "properties": {"ids": {"type": "array", "items": TEXT, "minItems": 1}}
            | dict.fromkeys(("name", "mf", "mdl", "sw"), TEXT),
            "additionalProperties": False,
        },
        "o": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": TEXT, "sw": TEXT, "url": {"type": "string", "pattern": "^https?://"}},
            "additionalProperties": False,
        },
        "availability": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["topic"],
                "properties": {"topic": TOPIC, "value_template": TEXT},
                "additionalProperties": False,
            },
        },
        "qos": {"enum": [0, 1, 2]},
        "state_topic": TOPIC,
        "cmps": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "allOf": [
                    {"if": {"properties": {"p": {"const": name}}}, "then": rules}
                    for name, rules in (("sensor", SENSOR), ("switch", SWITCH), ("button", BUTTON), ("update", UPDATE))
                ],
                "required": ["p"],
            },
        },
    },
}


FULL = {short: full for full, short in _SHORT.items()}


def payload(before: dict[str, str] | None = None, whole: bool = True, **config: Any) -> dict[str, Any]:
    """As Home Assistant understands it: abbreviations written out, the shared topic given to each sensor."""
    made = Config.model_validate({"device": {"id": "hall", "name": "Hall"}, **config})
    sent = discovery_payload(made, INFO, 10.0, before=before, whole=whole)
    message = written_out(json.loads(encode(sent)))
    for component in message["cmps"].values():
        if component["p"] == "sensor" and len(component) > 1:
            component.setdefault("state_topic", message["state_topic"])
    return message


def written_out(value: Any) -> Any:
    if isinstance(value, dict):
        return {FULL.get(key, key): written_out(each) for key, each in value.items()}
    return [written_out(each) for each in value] if isinstance(value, list) else value


def test_it_follows_the_documented_rules() -> None:
    jsonschema.Draft202012Validator(DEVICE).validate(payload())


@pytest.mark.parametrize("broken", ["o", "dev", "cmps"])
def test_the_rules_here_would_notice_a_missing_part(broken: str) -> None:
    wrong = copy.deepcopy(payload())
    del wrong[broken]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(DEVICE).validate(wrong)


def test_unique_ids_are_unique_and_differ_between_devices() -> None:
    here = [component["unique_id"] for component in payload()["cmps"].values()]
    there = [component["unique_id"] for component in payload(device={"id": "yard"})["cmps"].values()]
    assert len(set(here + there)) == len(here) + len(there)


def test_every_emotion_is_a_percentage_that_expires_after_three_windows() -> None:
    components = payload()["cmps"]
    for label in LABELS:
        sensor = components[label]
        assert (sensor["unit_of_measurement"], sensor["state_class"], sensor["expire_after"]) == (
            "%",
            "measurement",
            30,
        )
        assert sensor["state_topic"] == "countenance/hall/emotions"


def render(template: str, message: dict[str, Any]) -> str:
    """As Home Assistant renders: the message as ``value_json``; what comes out is text."""
    return jinja2.Environment(autoescape=False).from_string(template).render(value_json=message)


def window(people: int | None) -> dict[str, Any]:
    report = make_report(1, datetime(2026, 1, 1, tzinfo=timezone.utc), people=people)
    return json.loads(encode(window_payload(StoredWindow("s", 1, report, True, "m", "b"), "hall")))


@pytest.mark.parametrize("label", LABELS)
def test_an_emotion_reads_its_percentage_and_null_becomes_unknown(label: str) -> None:
    template = payload()["cmps"][label]["value_template"]
    full = window(5)
    assert float(render(template, full)) == full["percentages"][label]
    # Home Assistant takes the text None for "unknown"; any other text is an error if there is a state_class.
    assert render(template, window(None)) == render(template, window(0)) == "None"


def test_people_are_unknown_when_withheld() -> None:
    template = payload()["cmps"]["people"]["value_template"]
    assert [render(template, window(people)) for people in (5, 0, None)] == ["5", "0", "None"]


def test_the_rolling_estimate_has_sensors_that_live_on_while_windows_are_withheld() -> None:
    components = payload()["cmps"]
    withheld = window(None)
    for label in LABELS:
        sensor = components[f"rolling_{label}"]
        assert sensor["name"] == f"{label.capitalize()} (15 min)"
        assert float(render(sensor["value_template"], withheld)) == withheld["rolling"]["percentages"][label]
        for gone in (None, {"percentages": None}):
            assert render(sensor["value_template"], {**withheld, "rolling": gone}) == "None"
    people = components["rolling_people"]["value_template"]
    assert render(people, withheld) == str(withheld["rolling"]["people"])
    assert render(people, {**withheld, "rolling": None}) == "None"
    assert "rolling_happy" not in payload(whole=False)["cmps"]


def status(paused: bool = False, camera: str = "running", trouble: str | None = None) -> dict[str, Any]:
    live = LiveState(camera=CameraState(camera), trouble=None if trouble is None else Trouble(trouble))
    return json.loads(encode(status_payload("online", "s", live, paused=paused)))


def test_a_camera_that_is_away_or_hangs_upside_down_is_a_problem() -> None:
    problem = payload()["cmps"]["camera"]
    assert (problem["p"], problem["device_class"]) == ("binary_sensor", "problem")
    assert (problem["payload_on"], problem["payload_off"]) == ("True", "False")
    shown = {state.value: render(problem["value_template"], status(camera=state.value)) for state in CameraState}
    assert shown == {"starting": "False", "running": "False", "ended": "False", "stalled": "True", "gone": "True"}
    assert render(problem["value_template"], status(trouble="upside_down")) == "True"


def test_the_switch_shows_a_pause_and_asks_for_one(tmp_path: Path) -> None:
    switch = payload()["cmps"]["pause"]
    states = [status(paused=True), status(), will_payload("s")]
    assert [render(switch["value_template"], state) for state in states] == [
        switch["state_on"], switch["state_off"], "None"
    ]  # fmt: skip
    assert (json.loads(switch["payload_on"]), json.loads(switch["payload_off"])) == ({"on": True}, {"on": False})
    assert switch["command_topic"] == "countenance/hall/command/pause"


def test_only_online_is_available() -> None:
    (availability,) = payload()["availability"]
    rendered = [
        render(availability["value_template"], {**will_payload("s"), "state": state})
        for state in ("online", "stopped", "offline")
    ]
    assert rendered == ["online", "offline", "offline"]


def test_diagnostics_read_fields_that_health_has(tmp_path: Path) -> None:
    from tests.support.schemas import schema

    for key in ("temperature", "frame_rate", "pending", "memory"):
        fields = re.findall(r"get\('(\w+)'", payload()["cmps"][key]["value_template"])
        node = schema("health")
        for field in fields:
            node = node["properties"][field]


MODELS = {
    "name": "emotion", "release": "2026.11", "channel": "stable", "latest": "2026.12",
    "improves": "reads children better", "trying": None, "held": "", "agreement": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (MODELS, ("2026.11", "2026.12", False, "reads children better")),
        ({**MODELS, "trying": "2026.12"}, ("2026.11", "2026.12", True, "reads children better")),
        ({**MODELS, "held": "pinned"}, ("2026.11", "2026.12", False, "pinned")),
        ({**MODELS, "latest": None, "improves": ""}, ("2026.11", "2026.11", False, "")),
        ({**MODELS, "release": None, "latest": None, "improves": ""}, ("package", "package", False, "")),
    ],
)
def test_the_update_shows_the_release_in_use_and_the_one_offered(
    told: dict[str, Any], shown: tuple[str, str, bool, str]
) -> None:
    update = payload(updates={"source": "https://models.example.org"})["cmps"]["models"]
    state = json.loads(render(update["value_template"], {"model": told}))
    keys = ("installed_version", "latest_version", "in_progress", "release_summary")
    assert tuple(state[key] for key in keys) == shown
    assert update["command_topic"] == "countenance/hall/command/update"
    assert update["state_topic"] == "countenance/hall/health"


def test_without_a_source_there_is_no_update_to_show() -> None:
    assert "models" not in payload()["cmps"]
    assert "models" not in payload(whole=False, updates={"source": "/stick"})["cmps"], "it would be too long"


@pytest.mark.parametrize("updates", [{}, {"source": "https://models.example.org"}])
def test_it_fits_a_broker_that_takes_4096_bytes(updates: dict[str, str]) -> None:
    made = Config.model_validate(
        {"device": {"id": "raspberrypi-hall", "name": "The hall upstairs"}, "updates": updates}
    )
    sent = encode(discovery_payload(made, INFO, 10.0))
    assert packet_bytes("homeassistant/device/raspberrypi-hall/config", sent) < 4096


def test_what_an_earlier_model_knew_is_told_to_be_gone() -> None:
    before = announced_before(
        {"where": "b:1 t", "components": {"happy": "sensor", "contempt": "sensor", "x": "camera"}}, "b:1 t"
    )
    message = payload(before)
    assert message["cmps"]["contempt"] == {"p": "sensor"}
    assert message["cmps"]["happy"]["unique_id"]
    assert "x" not in message["cmps"]
    assert components_of(message)["contempt"] == "sensor", "one that was away hears of it later"


@pytest.mark.parametrize(
    "note", [None, 5, [], {}, {"where": "b:1 t", "components": 5}, {"where": "other", "components": {}}]
)
def test_a_note_that_says_nothing_of_this_broker_is_left_alone(note: object) -> None:
    assert announced_before(note, "b:1 t") == {}


def test_devices_without_a_name_are_told_apart() -> None:
    names = [payload(device={"id": name})["dev"]["name"] for name in ("hall", "yard")]
    assert names == ["Countenance hall", "Countenance yard"]


@pytest.mark.parametrize("message", [{}, {"percentages": None}, {"percentages": {"contempt": 1.0}}, {"store": {}}])
def test_a_message_without_the_value_makes_it_unknown(message: dict[str, Any]) -> None:
    """Of another version, or of a model with other labels; Home Assistant logs a warning where a template fails."""
    strict = jinja2.Environment(autoescape=False, undefined=jinja2.StrictUndefined)
    for component in payload()["cmps"].values():
        if "value_template" in component:
            assert strict.from_string(component["value_template"]).render(value_json=message) == "None"
