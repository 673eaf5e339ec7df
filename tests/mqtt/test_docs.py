"""The documentation of MQTT says what is: its examples are valid, and the tests that it names exist."""

from __future__ import annotations

import functools
import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge_agent.message import window_payload
from edge_agent.mqtt.commands import Commands
from edge_agent.types import StoredWindow
from tests.support.broker import Broker, Subscriber, wait_until
from tests.support.publishing import Controls
from tests.support.schemas import schema, validate
from tests.support.windows import make_report

ROOT = Path(__file__).parents[2]
MQTT = (ROOT / "docs" / "mqtt.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_the_window_in_the_documentation_is_valid() -> None:
    example = json.loads(re.search(r"```json\n(.*?)```", MQTT, re.S).group(1))  # type: ignore[union-attr]
    shortened = [name for name, value in example["rolling"].items() if value == {}]
    whole = {**example["rolling"], **{name: example[name] for name in shortened}}
    validate("emotions", {**example, "rolling": whole})
    assert sum(round(10 * share) for share in example["percentages"].values()) == 1000
    assert sum(round(10 * share) for share in example["percentages_raw"].values()) == 1000


@pytest.mark.parametrize("name", ["emotions", "status", "info", "health", "command", "response"])
def test_every_field_is_documented(name: str) -> None:
    missing = [field for field in fields(schema(name)) if f"`{field}`" not in MQTT and f'"{field}"' not in MQTT]
    assert not missing


def fields(part: dict[str, Any]) -> set[str]:
    """The fields of a schema and of the objects in it."""
    found = set(part.get("properties", {}))
    for below in [*part.get("properties", {}).values(), *part.get("anyOf", ()), *part.get("oneOf", ())]:
        found |= fields(below)
    return found


def test_every_command_is_documented() -> None:
    assert all(f"| `{name}` |" in MQTT for name in Commands(Controls(None, None)).names)  # type: ignore[arg-type]


def test_the_archive_in_the_documentation_drops_duplicates(broker: Broker, tmp_path: Path) -> None:
    source = re.search(r"```python\n(.*?)```", MQTT, re.S).group(1)  # type: ignore[union-attr]
    source = source.replace('client.connect("127.0.0.1")', f'client.connect("127.0.0.1", {broker.port})')
    process = subprocess.Popen([sys.executable, "-c", source], cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: "archive" in broker.log() and "SUBACK" in broker.log(), what="the archive subscribes")
        with Subscriber(broker.port, "none") as sender:
            for seq, topic in ((1, "emotions"), (1, "emotions/history"), (1, "emotions/history"), (2, "emotions")):
                payload = json.dumps({"device": "hall", "session": "s", "seq": seq})
                sender.client.publish(f"countenance/hall/{topic}", payload, qos=1)
            wait_until(lambda: archived(tmp_path) == [("hall", "s", 1), ("hall", "s", 2)])
    finally:
        process.kill()
        _, complaint = process.communicate()
    assert complaint == b""


def archived(folder: Path) -> list[tuple[str, str, int]]:
    with closing(sqlite3.connect(folder / "windows.db")) as connection:
        return connection.execute("SELECT device, session, seq FROM windows ORDER BY seq").fetchall()


def test_the_flow_for_node_red_takes_windows_with_percentages_and_finds_the_share() -> None:
    recipe = re.search(r"\*\*Node-RED\*\*: .*?\n\n", README, re.S).group(0)  # type: ignore[union-attr]
    condition, source = re.search(
        r"\*switch\* node on the\s+property\s+`msg\.([\w.]+)` with the rule \*is not null\*.*"
        r"\*change\* node: set `msg\.payload` to `msg\.([\w.]+)`",
        recipe,
        re.S,
    ).groups()  # type: ignore[union-attr]
    full, withheld = (
        {"payload": window_payload(StoredWindow("s", 1, make_report(1, people=people), True, "m", "b"), "hall")}
        for people in (5, None)
    )
    assert source.startswith(f"{condition}."), "what is asked for is what could be missing"
    assert walk(withheld, condition) is None
    assert walk(full, condition) is not None
    assert isinstance(walk(full, source), float)


def walk(message: dict[str, Any], path: str) -> Any:
    return functools.reduce(lambda value, name: value[name], path.split("."), message)


def test_promises_are_numbered_and_each_names_tests_that_exist() -> None:
    promises = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^#|\Z)", RELIABILITY, re.S | re.M)
    assert [int(number) for number, _ in promises] == list(range(1, len(promises) + 1))
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for path in [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "benchmarks").rglob("test_*.py")]
    )
    for number, text in promises:
        names = re.findall(r"`(test_\w+)`", text)
        assert names, f"promise {number} names no test"
        for name in names:
            assert f"def {name}(" in sources, f"promise {number}: {name}"
