"""What the command lines of ``training`` and ``quantization`` have in common."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from edge_agent.errors import CountenanceError
from training.data import Source, find_source


def run(parser: argparse.ArgumentParser, arguments: list[str] | None, log_format: str) -> int:
    """Run one command, which the parser leaves in ``command``; returns the exit code of errors.py's table."""
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=log_format, datefmt="%H:%M:%S")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        options.command(options)
    except CountenanceError as error:
        print(f"{parser.prog.split()[-1]}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def add_data(parser: argparse.ArgumentParser) -> None:
    """The options that :func:`source_of` reads."""
    shared = Path(os.environ.get("COUNTENANCE_SHARED", "../shared")) / "data"
    parser.add_argument("--data", type=Path, default=shared, help="fer2013.csv[.gz|.xz|.zip] or a folder (%(default)s)")
    parser.add_argument("--votes", type=Path, help="fer2013new.csv (default: the one beside the data)")


def source_of(options: argparse.Namespace) -> Source:
    """The data that the options name; raises InputError where there is none."""
    return find_source(options.data, options.votes)
