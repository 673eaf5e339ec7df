"""The tutorial, typed as it is printed, on a small data set."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.faces import write_astronaut
from tests.support.fer import write_csv
from training.recipe import RECIPES

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
ROOT = PAGE.parents[1]
RUNS_HERE = ("python", "edge-agent")
"""What the others do is for another machine, or was done before the tests."""


def commands() -> list[str]:
    """The lines of code that begin with a program of ours, in the page's order."""
    lines = [line.strip() for line in PAGE.read_text().splitlines() if line.startswith("    ")]
    return [line for line in lines if line.startswith(RUNS_HERE) and not line.startswith("python3")]


def test_the_tutorial_goes_from_the_data_to_the_devices_file() -> None:
    steps = [shlex.split(command)[2:4] if command.startswith("python") else ["predict"] for command in commands()]
    assert [step[-1] for step in steps] == [
        "data", "fit", "report", "fit", "fit", "convert", "export", "evaluate", "evaluate", "predict"
    ]  # fmt: skip


@pytest.mark.training
@pytest.mark.timeout(900)
def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    """In one folder, one after the other. Fewer epochs and smaller batches are the only difference."""
    for package in ("tensorflow", "matplotlib", "tflite_runtime", "ai_edge_litert"):
        if importlib.util.find_spec(package) is None:  # importing TensorFlow takes ten seconds, and the runtimes clash
            pytest.skip(f"needs {package}")
    (tmp_path / "data").mkdir()
    write_csv(tmp_path / "data", training=140, public=70)
    write_astronaut(tmp_path / "photo.jpg")
    (tmp_path / "mine.yaml").write_text(next(block for block in _blocks() if "model:" in block))
    (tmp_path / "training").symlink_to(ROOT / "training")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    for command in commands():
        words = shlex.split(command)
        if "fit" in words:
            words[words.index("fit") + 1] = str(_short(words[words.index("fit") + 1], tmp_path))
            if "--epochs" in words:
                words[words.index("--epochs") + 1] = "1"
        program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "edge_agent"]
        done = subprocess.run(
            [*program, *words[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    assert "happy" in done.stdout, "the last one reads the picture"
    for made in ("runs/data/index.html", "runs/quick/report/index.html", "mine.tflite", "mine.json"):
        assert (tmp_path / made).is_file(), made


def _short(name: str, folder: Path) -> Path:
    recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text()) | {"epochs": 1, "batch_size": 28}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    return folder / f"{name}.yaml"


def _blocks() -> list[str]:
    """The page's code, block by block."""
    blocks = PAGE.read_text().split("\n\n")
    return ["\n".join(line[4:] for line in block.splitlines()) for block in blocks if block.startswith("    ")]
