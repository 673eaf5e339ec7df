"""Home Assistant's MQTT device discovery: one retained message makes the device and all its entities.

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edge_agent.config import Config
from edge_agent.mqtt.payloads import DeviceInfo
from edge_agent.mqtt.topics import Topics, topics_of

PLATFORMS = ("sensor", "binary_sensor", "switch", "button", "update")
_AVAILABLE = "{{ 'online' if value_json.get('state') == 'online' else 'offline' }}"

# (key, name, path in health's JSON, extra): shown under "Diagnostic" in Home Assistant
_DIAGNOSTICS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("temperature", "Temperature", "temperature_c", {"device_class": "temperature", "unit_of_measurement": "°C"}),
    ("frame_rate", "Frames per second", "frames.processed_per_s", {"suggested_display_precision": 1}),
    ("pending", "Windows not delivered", "store.pending", {}),
    ("memory", "Memory", "rss_mb", {"device_class": "data_size", "unit_of_measurement": "MB"}),
)


# Home Assistant's own abbreviations: with them the message of a device with an id of up to 16 characters stays below
# 4,096 bytes, which many a broker takes at most.
_SHORT = {
    "availability": "avty",
    "command_topic": "cmd_t",
    "device_class": "dev_cla",
    "entity_category": "ent_cat",
    "expire_after": "exp_aft",
    "icon": "ic",
    "payload_install": "pl_inst",
    "payload_off": "pl_off",
    "payload_on": "pl_on",
    "payload_press": "pl_prs",
    "state_class": "stat_cla",
    "state_off": "stat_off",
    "state_on": "stat_on",
    "state_topic": "stat_t",
    "suggested_display_precision": "sug_dsp_prc",
    "topic": "t",
    "unique_id": "uniq_id",
    "unit_of_measurement": "unit_of_meas",
    "value_template": "val_tpl",
}


def discovery_payload(
    config: Config, info: DeviceInfo, window_s: float, *, before: Mapping[str, str] | None = None, whole: bool = False
) -> dict[str, Any]:
    """The retained configuration of one device and its entities.

    Args:
        before: what earlier runs announced, key and platform; a component that is no longer there is told with its
            platform alone, which removes it.
        info: what ``.../info`` tells; each label becomes a sensor.
        whole: with the sensors of the rolling estimate and the update of models, where there are such; they make the
            message half as long again.
        window_s: length of a window in seconds; three of them without news make a sensor unavailable.
    """
    topics = topics_of(config)
    components = {
        **{label: _emotion(label, window_s) for label in info.labels},
        "people": _people(window_s),
        **(_rolling(info, window_s) if whole and info.rolling_s else {}),
        "camera": _camera(topics),
        "pause": _pause(topics),
        "identify": _identify(topics),
        **({"models": _models(topics)} if whole and config.updates.source is not None else {}),
        **{key: _diagnostic(config, topics, name, path=path, more=more) for key, name, path, more in _DIAGNOSTICS},
    }
    for key, component in components.items():
        component["unique_id"] = f"ctn_{config.device.id}_{key}"  # short: there are fifteen
    leavers = {key: {"p": platform} for key, platform in (before or {}).items() if key not in components}
    return {
        "dev": _device(config, info),
        "o": {"name": "countenance", "sw": info.version},
        "avty": [_short({"topic": topics.status, "value_template": _AVAILABLE})],
        "qos": 1,
        "stat_t": topics.live,
        "cmps": {**{key: _short(component) for key, component in components.items()}, **leavers},
    }


def components_of(payload: Mapping[str, Any]) -> dict[str, str]:
    """Key and platform of each component, those included that are being removed: one that was away hears it later."""
    return {key: component["p"] for key, component in payload["cmps"].items()}


def announced_before(note: Any, where: str) -> dict[str, str]:
    """The components that a note of an earlier run names, if it is about this broker and topic."""
    if not isinstance(note, dict) or note.get("where") != where or not isinstance(note.get("components"), dict):
        return {}
    return {key: platform for key, platform in note["components"].items() if platform in PLATFORMS}


def _short(names: Mapping[str, Any]) -> dict[str, Any]:
    return {_SHORT.get(name, name): value for name, value in names.items()}


def _device(config: Config, info: DeviceInfo) -> dict[str, Any]:
    return {
        "ids": [f"countenance_{config.device.id}"],
        "name": config.device.shown_name,
        "mf": "Countenance",
        "mdl": f"edge agent, model {info.model.name}",
        "sw": info.version,
    }


def _emotion(label: str, window_s: float) -> dict[str, Any]:
    # A template that gives none makes the sensor "unknown"; any other text would be an error if there is a state_class.
    return {
        "p": "sensor",
        "name": label.replace("_", " ").capitalize(),
        "value_template": f"{{{{(value_json.get('percentages')or{{}}).get('{label}')}}}}",
        "unit_of_measurement": "%",
        "state_class": "measurement",
        "icon": "mdi:emoticon",
        "expire_after": math.ceil(3 * window_s),
    }


def _rolling(info: DeviceInfo, window_s: float) -> dict[str, dict[str, Any]]:
    """The estimate over the last minutes: with few people nearly every window is withheld, and this one is not."""
    span, known = f"{info.rolling_s / 60:g} min", "(value_json.get('rolling')or{})"
    sensors = {
        f"rolling_{label}": {
            **_emotion(label, window_s),
            "name": f"{label.replace('_', ' ').capitalize()} ({span})",
            "value_template": f"{{{{({known}.get('percentages')or{{}}).get('{label}')}}}}",
        }
        for label in info.labels
    }
    people = {**_people(window_s), "name": f"People ({span})", "value_template": f"{{{{{known}.get('people')}}}}"}
    return {**sensors, "rolling_people": people}


def _people(window_s: float) -> dict[str, Any]:
    return {
        "p": "sensor",
        "name": "People",
        "value_template": "{{ value_json.get('people') }}",
        "state_class": "measurement",
        "icon": "mdi:account-group",
        "expire_after": math.ceil(3 * window_s),
    }


def _camera(topics: Topics) -> dict[str, Any]:
    """On while something is wrong with it; Jinja writes a boolean as Python does."""
    return {
        "p": "binary_sensor",
        "name": "Camera",
        "device_class": "problem",
        "state_topic": topics.status,
        "value_template": "{{value_json.get('problem')}}",
        "payload_on": "True",
        "payload_off": "False",
    }


def _pause(topics: Topics) -> dict[str, Any]:
    return {
        "p": "switch",
        "name": "Pause",
        "command_topic": topics.command("pause"),
        "payload_on": '{"on":true}',
        "payload_off": '{"on":false}',
        "state_topic": topics.status,
        "value_template": "{{value_json.get('paused')}}",
        "state_on": "True",
        "state_off": "False",
        "icon": "mdi:eye-off",
    }


def _identify(topics: Topics) -> dict[str, Any]:
    return {
        "p": "button",
        "name": "Identify",
        "command_topic": topics.command("identify"),
        "payload_press": "{}",
        "device_class": "identify",
        "entity_category": "config",
    }


def _models(topics: Topics) -> dict[str, Any]:
    """Shows the release in use and the one offered, and installs it; without a release the package's version is it."""
    return {
        "p": "update",
        "name": "Models",
        "state_topic": topics.health,
        "value_template": (
            "{%set m=value_json.get('model')or{}%}{%set i=m.get('release')or'package'%}"
            "{{{'installed_version':i,'latest_version':m.get('latest')or i,'title':'Models',"
            "'in_progress':m.get('trying')is not none,"
            "'release_summary':(m.get('held')or m.get('improves')or'')[:255]}|tojson}}"
        ),
        "command_topic": topics.command("update"),
        "payload_install": "{}",
        "entity_category": "config",
    }


def _diagnostic(config: Config, topics: Topics, name: str, *, path: str, more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "p": "sensor",
        "name": name,
        "state_topic": topics.health,
        "value_template": _read(path),
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "expire_after": math.ceil(3 * config.mqtt.health_s),
        **more,
    }


def _read(path: str) -> str:
    """A template for ``a.b`` in the message; without a value it gives none, which shows as unknown."""
    *parents, last = path.split(".")
    return "{{value_json" + "".join(f".get('{key}',{{}})" for key in parents) + f".get('{last}')}}}}"
