"""Finding an interpreter: what is installed is used, what is missing is named with its install command."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement

from edge_agent.errors import MissingPackageError, ModelError
from edge_agent.host import runtime
from edge_agent.host.runtime import RuntimeChoice, open_interpreter
from edge_agent.vision.model import load_model


def hide(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> None:
    """Make packages as absent as on a machine without them."""
    real = importlib.import_module

    def import_module(name: str) -> Any:
        if name.split(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name)

    monkeypatch.setattr(runtime.importlib, "import_module", import_module)


def need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def test_auto_takes_litert_first() -> None:
    need("ai_edge_litert")
    assert open_interpreter(load_model().content)[0] == "litert"


def test_auto_falls_back_to_tflite_where_litert_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    need("tflite_runtime")
    hide(monkeypatch, "ai_edge_litert")
    assert open_interpreter(load_model().content)[0] == "tflite"


@pytest.mark.parametrize(
    ("choice", "hint"), [("litert", "pip install ai-edge-litert"), ("tflite", "pip install tflite-runtime")]
)
def test_a_pinned_runtime_is_never_replaced(monkeypatch: pytest.MonkeyPatch, choice: RuntimeChoice, hint: str) -> None:
    hide(monkeypatch, "ai_edge_litert" if choice == "litert" else "tflite_runtime")
    with pytest.raises(MissingPackageError, match=hint):
        open_interpreter(load_model().content, choice)


def test_without_any_runtime_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "ai_edge_litert", "tflite_runtime", "tensorflow")
    with pytest.raises(MissingPackageError, match=r"no interpreter .*'tflite_runtime.*: pip install ai-edge-litert"):
        open_interpreter(load_model().content)


def test_tflite_runtime_under_numpy_2_is_refused_before_it_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel imports under numpy 2 and its first Interpreter() ends the process."""
    need("tflite_runtime")
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(MissingPackageError, match=r"needs numpy 1, not 2\.1\.0"):
        open_interpreter(load_model().content, "tflite")


def test_auto_goes_on_behind_a_tflite_runtime_that_numpy_2_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow's interpreter is tried third. ai-edge-litert's is the same, and is used here instead of the large
    package."""
    need("tflite_runtime")
    need("ai_edge_litert")
    monkeypatch.setattr(np, "__version__", "2.1.0")
    monkeypatch.setitem(runtime._MODULES, "tensorflow", runtime._MODULES["litert"])
    monkeypatch.setitem(runtime._MODULES, "litert", "no_such_package")
    assert open_interpreter(load_model().content)[0] == "tensorflow"
    monkeypatch.setitem(runtime._MODULES, "tensorflow", "no_such_package")
    with pytest.raises(MissingPackageError, match=r"package'; tflite-runtime needs numpy 1.*; No module.*: pip"):
        open_interpreter(load_model().content)


@pytest.mark.parametrize("choice", ["litert", "tflite"])
def test_a_damaged_model_is_refused_in_one_line(choice: RuntimeChoice) -> None:
    need({"litert": "ai_edge_litert", "tflite": "tflite_runtime"}[choice])
    with pytest.raises(ModelError) as caught:
        open_interpreter(b"\x1c\x00\x00\x00TFL3" + bytes(100), choice)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_an_installation_brings_one_runtime_and_on_x86_64_the_fast_one(version, machine):
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    lines = re.findall(
        r'^    "((?:tflite-runtime|ai-edge-litert)[^"]*)",$', text.partition("[project.optional")[0], re.M
    )
    here = {"python_version": version, "platform_machine": machine, "sys_platform": "linux"}
    wanted = [asked.name for asked in map(Requirement, lines) if asked.marker is None or asked.marker.evaluate(here)]
    old = machine == "aarch64" and version in ("3.10", "3.11")
    assert wanted == ["tflite-runtime" if old else "ai-edge-litert"]
