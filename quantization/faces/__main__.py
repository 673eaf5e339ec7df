"""``python -m quantization.faces``: convert a detector's run to int8, and export it for the device."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_agent.detectors.built_in_file import SHIPPED, Crop
from training.commands import run
from training.faces.commands import add_data

WEIGHTS = Path(__file__).parents[2] / "training" / "weights"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code of errors.py's table."""
    return run(_parser(), arguments, "%(message)s")


def _convert(options: argparse.Namespace) -> None:
    from quantization.faces.convert import convert

    convert(options.run, options.data)


def _export(options: argparse.Namespace) -> None:
    from quantization.faces.export import export

    crop = Crop(scale=options.scale, shift_y=options.shift_y)
    export(options.run, options.to, options.data, crop=crop, weights=options.weights)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m quantization.faces", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    convert = commands.add_parser("convert", help="write int8.tflite into a run folder")
    convert.set_defaults(command=_convert)
    convert.add_argument("run", type=Path)
    add_data(convert)

    export = commands.add_parser("export", help="measure a run's int8.tflite and ship it with its .json")
    export.set_defaults(command=_export)
    export.add_argument("run", type=Path)
    export.add_argument("--to", type=Path, default=SHIPPED, help="(default: %(default)s)")
    export.add_argument("--scale", type=float, default=0.95, help="side of the crop, in longer sides of the box")
    export.add_argument("--shift-y", type=float, default=0.0, help="how far below the box's middle, in crops")
    export.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the float weights (%(default)s)")
    add_data(export)
    return parser


if __name__ == "__main__":
    sys.exit(main())
