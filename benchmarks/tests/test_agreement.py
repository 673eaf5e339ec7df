"""The stored counts of differing top labels are of the shipped models, and the documentation shows them."""

from __future__ import annotations

import json

from benchmarks.agreement import PAGE, RESULT, describe
from edge_agent.vision.model import MODELS, load_model


def test_the_counts_are_of_the_shipped_models_and_on_the_page() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    shipped = {path.stem: load_model(path).info.sha256 for path in MODELS.glob("*.tflite")}
    assert {name: figures["sha256"] for name, figures in result["models"].items()} == shipped
    assert f"<!-- begin agreement -->\n{describe(result)}\n<!-- end agreement -->" in PAGE.read_text(encoding="utf-8")
