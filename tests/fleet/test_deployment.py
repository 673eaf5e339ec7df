"""The files of deploy/: each is checked by the program that reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.programs import require

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    tool = require("promtool", "prometheus")
    done = subprocess.run(
        [tool, "test", "rules", "fleet.rules.test.yml"], cwd=PROMETHEUS, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_ask_for_metrics_that_exist() -> None:
    code = (Path(__file__).parents[2] / "fleet" / "api.py").read_text()
    rules = (PROMETHEUS / "fleet.rules.yml").read_text()
    names = {
        word.strip("()[]{},") for word in rules.replace("(", " ").replace("[", " ").split() if "countenance_" in word
    }
    assert names
    assert all(name in code for name in names)
