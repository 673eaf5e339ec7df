"""Can this device publish: name, link, login, a message that is acknowledged, and what the broker does not take."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from paho.mqtt.enums import MQTTProtocolVersion

from edge_agent import __version__
from edge_agent.cli.doctor.check import Check, failed, ok, warning
from edge_agent.cli.doctor.visit import STEP_S, Visit
from edge_agent.config import Config, MqttConfig
from edge_agent.config.credentials import mqtt_password
from edge_agent.message import encode
from edge_agent.mqtt.connection import Limits, packet_bytes
from edge_agent.mqtt.discovery import discovery_payload
from edge_agent.mqtt.notebook import Notebook
from edge_agent.mqtt.payloads import DeviceInfo, ModelInUse, read_status
from edge_agent.mqtt.topics import topics_of

WINDOW_BYTES = 2000
"""A window of seven emotions with its rolling estimate, and room for reasons."""
INSTALLED_PASSWORD = Path("/etc/countenance/mqtt_password")
"""Where systemd/install.sh keeps the password that systemd passes to the service as a credential."""


def examine(config: Config) -> Iterable[Check]:
    """Resolve, connect, authenticate, publish; the first step that fails is the last that is reported."""
    if not config.mqtt.enabled:
        yield ok("broker", "not used (mqtt.enabled is false)")
        return
    for step in (_resolve, _connect):
        check = step(config.mqtt)
        yield check
        if check.fix:
            return
    yield from _talk(_with_password_of_the_service(config))


def _with_password_of_the_service(config: Config) -> Config:
    """As root the doctor may read what the service gets as a credential; without it the login would fail here alone."""
    if mqtt_password(config.mqtt.password_file) is not None or not os.access(INSTALLED_PASSWORD, os.R_OK):
        return config
    mqtt = config.mqtt.model_copy(update={"password_file": INSTALLED_PASSWORD})
    return config.model_copy(update={"mqtt": mqtt})


def _resolve(mqtt: MqttConfig) -> Check:
    try:
        found = socket.getaddrinfo(mqtt.host, mqtt.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return failed("broker name", f"{mqtt.host}: {error.strerror}", "check mqtt.host, network and DNS")
    return ok("broker name", f"{mqtt.host} is {', '.join(sorted({str(entry[4][0]) for entry in found}))}")


def _connect(mqtt: MqttConfig) -> Check:
    where = f"{mqtt.host}:{mqtt.port}"
    started_s = time.perf_counter()
    try:
        socket.create_connection((mqtt.host, mqtt.port), STEP_S).close()
    except OSError as error:
        return failed(
            "broker link",
            f"{where}: {error.strerror or error}",
            "is the broker running, mqtt.port right, no firewall between?",
        )
    return ok("broker link", f"{where} answers in {(time.perf_counter() - started_s) * 1000:.0f} ms")


def _talk(config: Config) -> Iterator[Check]:
    """Log in as the agent does, publish, and try whatever can be tried of the rest without telling anybody anything."""
    visit = Visit(config)
    try:
        yield visit.log_in()
        if visit.connection is None:
            return
        published = _publish_check(visit)
        yield published
        if published.fix:
            return
        yield from _limits_checks(visit)
        yield from _topics_checks(visit)
        yield from _other_device_checks(visit)
        yield from _remembered_checks(config)
    finally:
        visit.leave()


def _publish_check(visit: Visit) -> Check:
    """A line that is not retained, and its PUBACK."""
    topic, started_s = f"{visit.topics.base}/doctor", time.perf_counter()
    problem = visit.publish(topic, json.dumps({"doctor": "hello"}).encode())
    if problem:
        fix = "let this user write this topic and the device's others, as configs/mosquitto/acl does"
        return failed("broker publish", f"{topic}: {problem}", fix)
    return ok("broker publish", f"{topic} acknowledged in {(time.perf_counter() - started_s) * 1000:.0f} ms")


def _limits_checks(visit: Visit) -> Iterator[Check]:
    """What the broker said of its limits; one of MQTT 3.1.1 says nothing, so that has to be tried."""
    limits = visit.connection.limits if visit.connection else Limits()
    fix = "raise the broker's limit (mosquitto: max_packet_size)"
    for what, size in _sizes(visit.config):
        if size > limits.packet_bytes:
            problem = f"the broker takes at most {limits.packet_bytes:,} bytes at once, and {what} needs {size:,}"
            yield warning("broker limits", problem, fix)
        elif visit.connection and visit.connection.terms.protocol == MQTTProtocolVersion.MQTTv311:
            padded = json.dumps({"doctor": "x" * size})
            if problem := visit.publish(f"{visit.topics.base}/doctor", padded.encode()):
                yield warning("broker limits", f"{size:,} bytes at once, which {what} needs: {problem}", fix)
    if limits.qos == 0:
        yield warning("broker limits", "the broker takes QoS 0 alone", "allow QoS 1 (mosquitto: max_qos 1)")
    if not limits.retain:
        problem = "the broker keeps no messages: status and Home Assistant's devices are unknown after a restart"
        yield warning("broker limits", problem, "let it keep them (mosquitto: retain_available true)")


def _topics_checks(visit: Visit) -> Iterator[Check]:
    """The subscriptions, and the announcement as the agent makes it, but not retained; the others would tell lies."""
    topics, fix = visit.topics, "the broker's access list must allow it"
    for topic in (topics.status, topics.commands):
        if problem := visit.subscribe(topic):
            yield failed("broker topics", f"reading {topic}: {problem}", fix)
    if not visit.config.mqtt.discovery:
        return
    fix = f"{fix}, or set mqtt.discovery: false"
    if problem := visit.subscribe(topics.home_assistant_status):
        yield warning("broker topics", f"reading {topics.home_assistant_status}: {problem}", fix)
    announcement = encode(_announcement(visit.config))
    limits = visit.connection.limits if visit.connection else Limits()
    fits = packet_bytes(topics.discovery, announcement) <= limits.packet_bytes
    if fits and (problem := visit.publish(topics.discovery, announcement)):
        yield failed("broker topics", f"writing {topics.discovery}: {problem}", fix)


def _other_device_checks(visit: Visit) -> Iterator[Check]:
    """Is the one who is online under our id somebody else?"""
    ours = Notebook(visit.config).get("sessions")
    if not isinstance(ours, list) or (message := visit.wait_for_message(visit.topics.status)) is None:
        return
    state, session = read_status(bytes(message.payload))
    if state == "online" and session not in ours:
        problem = f"another device is online as '{visit.config.device.id}' (its session is {session})"
        yield failed("broker device", problem, "give each device its own device.id")


def _remembered_checks(config: Config) -> Iterator[Check]:
    """What the agent found out when the broker hung up on it."""
    left_out = Notebook(config).get("left_out")
    for problem in left_out if isinstance(left_out, list) else ():
        what, _, fix = str(problem).partition(": ")
        yield failed("broker topics", what, fix)


def _sizes(config: Config) -> Iterator[tuple[str, int]]:
    yield "a window", WINDOW_BYTES
    if config.mqtt.discovery:
        yield (
            "the announcement to Home Assistant",
            packet_bytes(topics_of(config).discovery, encode(_announcement(config))),
        )


def _announcement(config: Config) -> dict[str, Any]:
    from edge_agent.vision.model import default_model_path, read_info

    model = read_info((config.model.path or default_model_path()).with_suffix(".json"))
    info = DeviceInfo(
        version=__version__,
        name=config.device.shown_name,
        labels=model.labels,
        model=ModelInUse(model.name, model.sha256, config.model.labels, config.model.runtime),
        detector=config.detector.kind,
        camera=config.camera.backend,
        rolling_s=config.window.rolling_s,
        min_people=config.privacy.min_people,
        site=None,
        config_sha256="",
        capabilities=(),
    )
    return discovery_payload(config, info, config.window.seconds)
