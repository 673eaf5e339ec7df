"""Brokers that are not mosquitto, real ones, each on loopback in a folder of its own with the users hall and reader."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.broker import free_port, wait_until
from tests.support.broker import is_open as answers
from tests.support.programs import require
from tests.support.trees import CACHE

PASSWORD = "grün und breit"
USERS = ("hall", "reader")


@contextmanager
def _running(command: list[str], folder: Path, port: int, environ: Mapping[str, str] | None = None) -> Iterator[int]:
    """The port of a broker, once it answers; its whole process group is killed at the end."""
    log = folder / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,
            env={**os.environ, **(environ or {})},
        )
    try:
        wait_until(lambda: answers(port), 240, lambda: f"{command[0]}: {log.read_text(errors='replace')[-1000:]}")
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# -- amqtt: MQTT 3.1.1 only, in Python; leaves an MQTT 5 CONNECT with a will unanswered and then hangs up

AMQTT = """
import asyncio, json, sys
from amqtt.broker import Broker

async def main():
    broker = Broker({
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}},
        "plugins": json.loads(sys.argv[2]),
    })
    await broker.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def amqtt(folder: Path, anonymous: bool = False) -> Iterator[int]:
    """In a process of its own: it leaks the connections that it refuses."""
    port, plugins = free_port(), "amqtt.plugins.authentication."
    if anonymous:
        plugin = {f"{plugins}AnonymousAuthPlugin": {"allow_anonymous": True}}
    else:
        from pwdlib import PasswordHash
        from pwdlib.hashers.argon2 import Argon2Hasher

        hashed = PasswordHash((Argon2Hasher(),)).hash(PASSWORD)
        (folder / "users").write_text("".join(f"{user}:{hashed}\n" for user in USERS))
        plugin = {f"{plugins}FileAuthPlugin": {"password_file": str(folder / "users")}}
    with _running([sys.executable, "-c", AMQTT, str(port), json.dumps(plugin)], folder, port) as running:
        yield running


# -- NATS: MQTT 3.1.1 only


@contextmanager
def nats_plain(folder: Path) -> Iterator[tuple[int, int]]:
    """Without passwords; the ports of NATS's own protocol and of MQTT."""
    program, own, port = require("nats-server", "nats-server"), free_port(), free_port()
    config = folder / "nats.conf"
    config.write_text(
        f"host: 127.0.0.1\nport: {own}\nserver_name: test\njetstream {{store_dir: {folder}/js}}\n"
        f"mqtt {{host: 127.0.0.1, port: {port}}}\n",
        encoding="utf-8",
    )
    with _running([program, "-c", str(config)], folder, port):
        yield own, port


@contextmanager
def nats(folder: Path, deny: tuple[str, ...] = ()) -> Iterator[int]:
    """``deny``: topics that the user hall may not write."""
    program, port = require("nats-server", "nats-server"), free_port()
    may_not = json.dumps([topic.replace("/", ".") for topic in deny])
    users = [f'{{user: hall, password: "{PASSWORD}", permissions: {{publish: {{deny: {may_not}}}}}}}'] if deny else []
    users += [f'{{user: {user}, password: "{PASSWORD}"}}' for user in USERS[len(users) :]]
    config = folder / "nats.conf"
    config.write_text(
        f"host: 127.0.0.1\nport: {free_port()}\nserver_name: test\njetstream {{store_dir: {folder}/js}}\n"
        f"mqtt {{host: 127.0.0.1, port: {port}}}\nauthorization {{users: [{', '.join(users)}]}}\n",
        encoding="utf-8",
    )
    with _running([program, "-c", str(config)], folder, port) as running:
        yield running


# -- RabbitMQ 3.10: MQTT 3.1.1 only, hangs up on a CONNECT of MQTT 5 and on a topic that is not permitted

RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"


@contextmanager
def rabbitmq(folder: Path, may_write: str = ".*") -> Iterator[int]:
    """``may_write``: a regular expression over topics, with '.' for '/', of what the user hall may write."""
    require("rabbitmq-server", "rabbitmq-server")
    port, node = free_port(), free_port()
    users = [{"name": user, "password_hash": _rabbit_hash(), "tags": ""} for user in USERS]
    everything = {"vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
    topics = {"user": "hall", "vhost": "/", "exchange": "amq.topic", "write": may_write, "read": ".*"}
    definitions = {
        "users": users,
        "vhosts": [{"name": "/"}],
        "permissions": [{"user": user, **everything} for user in USERS],
        "topic_permissions": [topics],
    }
    (folder / "definitions.json").write_text(json.dumps(definitions))
    (folder / "plugins").write_text("[rabbitmq_mqtt].\n")
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.default = 127.0.0.1:{node}\nmqtt.listeners.tcp.default = 127.0.0.1:{port}\n"
        f"mqtt.allow_anonymous = false\nload_definitions = {folder}/definitions.json\nlog.console = true\n"
    )
    epmd = free_port()
    environ = {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"test{node}@localhost",
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",
    }
    try:
        with _running([RABBITMQ], folder, port, environ) as running:
            # It listens before it knows its users.
            wait_until(
                lambda: "Server startup complete" in (folder / "log").read_text(errors="replace"), 60, "RabbitMQ"
            )
            yield running
    finally:
        subprocess.run(["epmd", "-port", str(epmd), "-kill"], capture_output=True, env={**os.environ, **environ})


def _rabbit_hash() -> str:
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + PASSWORD.encode()).digest()).decode()


# -- aedes: MQTT 3.1.1, in JavaScript; hangs up on a publish that is not allowed

AEDES = """
const { Aedes } = require('aedes')
const [port, password, denied] = process.argv.slice(2)
const deny = denied ? new RegExp(denied) : null
const ours = client => client && client.id.startsWith('countenance-')
Aedes.createBroker({
  authenticate: (client, user, given, done) =>
    done(null, ['hall', 'reader'].includes(user) && given && given.toString() === password),
  authorizePublish: (client, packet, done) =>
    done(ours(client) && deny && deny.test(packet.topic) ? new Error('not allowed') : null),
}).then(broker => require('net').createServer(broker.handle).listen(Number(port), '127.0.0.1'))
"""


@contextmanager
def aedes(folder: Path, deny: str = "") -> Iterator[int]:
    """``deny``: a regular expression over topics that a device may not write."""
    program, port = require("node", "nodejs"), free_port()
    (folder / "broker.js").write_text(AEDES)
    environ = {"NODE_PATH": str(_npm("aedes@1") / "node_modules")}
    with _running([program, str(folder / "broker.js"), str(port), PASSWORD, deny], folder, port, environ) as running:
        yield running


def _npm(package: str) -> Path:
    """A folder with this package of npm; fetched once."""
    folder = CACHE / f"npm-{package}"
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        done = subprocess.run([require("npm", "npm"), "install", "--prefix", str(part), package], capture_output=True)
        if done.returncode != 0:
            pytest.skip(f"npm cannot fetch {package} here: {done.stderr.decode(errors='replace')[-200:]}")
        part.rename(folder)
    return folder
