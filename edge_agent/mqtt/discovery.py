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

_AVAILABLE = "{{ 'online' if value_json.state == 'online' else 'offline' }}"
_PAUSED = "{{ {true: 'ON', false: 'OFF'}.get(value_json.paused) }}"

# (key, name, path in health's JSON, extra): shown under "Diagnostic" in Home Assistant
_DIAGNOSTICS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("temperature", "Temperature", "temperature_c", {"device_class": "temperature", "unit_of_measurement": "°C"}),
    ("frame_rate", "Frames per second", "frames.processed_per_s", {"suggested_display_precision": 1}),
    ("pending", "Windows not delivered", "store.pending", {}),
    ("memory", "Memory", "rss_mb", {"device_class": "data_size", "unit_of_measurement": "MB"}),
)


def discovery_payload(config: Config, info: DeviceInfo, window_s: float) -> dict[str, Any]:
    """The retained configuration of one device and its entities.

    Args:
        info: what ``.../info`` tells; each label becomes a sensor.
        window_s: length of a window in seconds; three of them without news make a sensor unavailable.
    """
    topics = topics_of(config)
    components = {
        **{label: _emotion(topics, label, window_s) for label in info.labels},
        "people": _people(topics, window_s),
        "pause": _pause(topics),
        "identify": _identify(topics),
        **{key: _diagnostic(config, topics, name, path, more) for key, name, path, more in _DIAGNOSTICS},
    }
    for key, component in components.items():
        component["unique_id"] = f"countenance_{config.device.id}_{key}"
    return {
        "dev": _device(config, info),
        "o": {"name": "countenance", "sw": info.version},
        "availability": [{"topic": topics.status, "value_template": _AVAILABLE}],
        "qos": 1,
        "cmps": components,
    }


def _device(config: Config, info: DeviceInfo) -> dict[str, Any]:
    return {
        "ids": [f"countenance_{config.device.id}"],
        "name": config.device.shown_name,
        "mf": "Countenance",
        "mdl": f"edge agent, model {info.model.name}",
        "sw": info.version,
    }


def _emotion(topics: Topics, label: str, window_s: float) -> dict[str, Any]:
    # A template that gives none makes the sensor "unknown"; any other text would be an error beside a state_class.
    return {
        "p": "sensor",
        "name": label.replace("_", " ").capitalize(),
        "state_topic": topics.live,
        "value_template": f"{{{{ value_json.percentages['{label}'] if value_json.percentages else none }}}}",
        "unit_of_measurement": "%",
        "state_class": "measurement",
        "suggested_display_precision": 1,
        "icon": "mdi:emoticon-outline",
        "expire_after": math.ceil(3 * window_s),
    }


def _people(topics: Topics, window_s: float) -> dict[str, Any]:
    return {
        "p": "sensor",
        "name": "People",
        "state_topic": topics.live,
        "value_template": "{{ value_json.people }}",
        "state_class": "measurement",
        "icon": "mdi:account-group",
        "expire_after": math.ceil(3 * window_s),
    }


def _pause(topics: Topics) -> dict[str, Any]:
    return {
        "p": "switch",
        "name": "Pause",
        "command_topic": topics.command("pause"),
        "payload_on": '{"on":true}',
        "payload_off": '{"on":false}',
        "state_topic": topics.status,
        "value_template": _PAUSED,
        "state_on": "ON",
        "state_off": "OFF",
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


def _diagnostic(config: Config, topics: Topics, name: str, path: str, more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "p": "sensor",
        "name": name,
        "state_topic": topics.health,
        "value_template": f"{{{{ value_json.{path} }}}}",
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "expire_after": math.ceil(3 * config.mqtt.health_s),
        **more,
    }
