"""A run folder around a model that is there, as ``fit`` and ``convert`` would leave it."""

from __future__ import annotations

import json
from pathlib import Path

from edge_agent.vision.model import Model


def run_of(model: Model, folder: Path) -> Path:
    """Write what ``export`` reads; returns the folder."""
    folder.mkdir(exist_ok=True)
    training = model.info.provenance["training"]
    (folder / "int8.tflite").write_bytes(model.content)
    outputs = {name: head.output for name, head in model.info.heads.items()}
    (folder / "convert.json").write_text(json.dumps({"outputs": outputs, **model.info.provenance["conversion"]}))
    (folder / "run.json").write_text(json.dumps(training))
    (folder / "history.json").write_text(json.dumps([{}] * training["epochs"]))
    return folder
