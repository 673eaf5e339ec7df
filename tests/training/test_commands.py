"""The command lines of ``training`` and ``quantization`` where what only training needs is not installed."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import pytest

import quantization.__main__
import training.__main__
from edge_agent.errors import MissingPackageError
from tests.support.fer import write_csv
from training.commands import run


@pytest.mark.parametrize(
    ("main", "command", "package", "extra"),
    [
        (training.__main__.main, ("fit", "tiny", "--run"), "keras", "train"),
        (training.__main__.main, ("evaluate",), "keras", "train"),
        (training.__main__.main, ("report",), "matplotlib", "train"),
        (training.__main__.main, ("tune", "first", "--to"), "optuna", "tune"),
        (quantization.__main__.main, ("convert",), "tensorflow", "train"),
        (quantization.__main__.main, ("layers",), "tensorflow", "train"),
        (quantization.__main__.main, ("explain",), "shap", "explain"),
    ],
)
def test_a_missing_package_is_named_with_its_install_command(
    main, command, package, extra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hide(package, monkeypatch)
    data = write_csv(tmp_path, training=14, public=14)
    assert main([*command, str(tmp_path), "--data", str(data)]) == MissingPackageError.exit_code
    program = main.__module__.partition(".")[0]
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"{program}: {package} is not installed; run: pip install -e '.[{extra}]'"


def test_the_backend_of_the_documented_gpu_training_is_installed_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keras imports JAX where KERAS_BACKEND says so; the train extra does not bring it."""
    hide("jax", monkeypatch)
    parser = argparse.ArgumentParser(prog="python -m training")
    parser.set_defaults(command=lambda _: importlib.import_module("jax.numpy"))
    assert run(parser, [], "%(message)s") == MissingPackageError.exit_code
    assert capsys.readouterr().err == "training: jax is not installed; run: pip install jax\n"


def test_a_missing_module_that_no_command_installs_is_a_bug_and_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide("training.evaluate", monkeypatch)
    with pytest.raises(ModuleNotFoundError):
        training.__main__.main(["evaluate", str(tmp_path), "--data", str(write_csv(tmp_path))])


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it as if a package were not there, whatever was imported before."""
    kept = ("training.commands", "training.data", "training.recipe")
    for name in [name for name in sys.modules if name.startswith(("training.", "quantization.", f"{package}."))]:
        if name not in kept and "__main__" not in name:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def test_ctrl_c_ends_a_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: argparse.Namespace) -> None:
        raise KeyboardInterrupt

    parser = argparse.ArgumentParser(prog="python -m training")
    parser.set_defaults(command=interrupted)
    assert run(parser, [], "%(message)s") == 130
    assert capsys.readouterr().err == "training: stopped\n"
