"""The documentation of MQTT says what is: its examples are valid, and the tests that it names exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edge_agent.commands import Commands
from tests.publishing import Controls
from tests.schemas import schema, validate

ROOT = Path(__file__).parent.parent
MQTT = (ROOT / "docs" / "mqtt.md").read_text(encoding="utf-8")
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_the_window_in_the_documentation_is_valid() -> None:
    example = json.loads(re.search(r"```json\n(.*?)```", MQTT, re.S).group(1))  # type: ignore[union-attr]
    whole = {**example["rolling"], **{name: example[name] for name in ("percentages", "percentages_raw", "intervals")}}
    validate("emotions", {**example, "rolling": whole})
    assert sum(round(10 * share) for share in example["percentages"].values()) == 1000
    assert sum(round(10 * share) for share in example["percentages_raw"].values()) == 1000


@pytest.mark.parametrize("name", ["emotions", "status", "info", "health", "command", "response"])
def test_every_field_is_documented(name: str) -> None:
    missing = [field for field in schema(name)["properties"] if f"`{field}`" not in MQTT and f'"{field}"' not in MQTT]
    assert not missing


def test_every_command_is_documented() -> None:
    assert all(f"| `{name}` |" in MQTT for name in Commands(Controls(None)).names)  # type: ignore[arg-type]


def test_promises_are_numbered_and_each_names_tests_that_exist() -> None:
    promises = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^#|\Z)", RELIABILITY, re.S | re.M)
    assert [int(number) for number, _ in promises] == list(range(1, len(promises) + 1))
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for number, text in promises:
        names = re.findall(r"`(test_\w+)`", text)
        assert names, f"promise {number} names no test"
        for name in names:
            assert f"def {name}(" in sources, f"promise {number}: {name}"
