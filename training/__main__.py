"""``python -m training``: fit a model, evaluate it, report on it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from edge_agent.errors import CountenanceError
from training.data import PUBLIC, SPLITS, find_source
from training.recipe import RECIPES, find_recipe, load_recipe


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code of errors.py's table."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        options.command(options)
    except CountenanceError as error:
        print(f"training: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _fit(options: argparse.Namespace) -> None:
    changes = {key: value for key in ("epochs", "seed") if (value := getattr(options, key)) is not None}
    recipe = load_recipe(find_recipe(options.recipe), **changes)
    source = find_source(options.data, options.votes)
    from training.train import fit  # after the arguments are known to be right: it imports Keras

    fit(recipe, source, options.run or Path("runs") / recipe.name, options.teacher, options.begin_with)


def _evaluate(options: argparse.Namespace) -> None:
    source = find_source(options.data, options.votes)
    from training.evaluate import describe

    print(describe(options.run, source, options.split))


def _report(options: argparse.Namespace) -> None:
    source = find_source(options.data, options.votes)
    from training.report import report

    print(report(options.run, source, options.split))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shipped = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
    fit = commands.add_parser("fit", help="train a model, or go on with a run that was interrupted")
    fit.set_defaults(command=_fit)
    fit.add_argument("recipe", help=f"a YAML file, or the name of one in training/recipes ({shipped})")
    fit.add_argument("--run", type=Path, help="the run's folder (default: runs/NAME_OF_THE_RECIPE)")
    fit.add_argument("--teacher", type=Path, nargs="+", default=[], metavar="RUN", help="distil from these runs")
    fit.add_argument(
        "--from", dest="begin_with", type=Path, metavar="RUN", help="begin with this finished run's weights"
    )
    fit.add_argument("--epochs", type=int, help="instead of the recipe's")
    fit.add_argument("--seed", type=int, help="instead of the recipe's")
    _add_data(fit)
    for name, command, summary in (
        ("evaluate", _evaluate, "accuracy, macro-F1 and calibration error of a run's float model"),
        ("report", _report, "write an HTML page with curves, confusion matrices and mistakes into a run folder"),
    ):
        sub = commands.add_parser(name, help=summary)
        sub.set_defaults(command=command)
        sub.add_argument("run", type=Path)
        sub.add_argument("--split", choices=SPLITS, default=PUBLIC, help="(%(default)s)")
        _add_data(sub)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    shared = Path(os.environ.get("COUNTENANCE_SHARED", "../shared")) / "data"
    parser.add_argument("--data", type=Path, default=shared, help="fer2013.csv[.gz|.xz|.zip] or a folder (%(default)s)")
    parser.add_argument("--votes", type=Path, help="fer2013new.csv (default: the one beside the data)")


if __name__ == "__main__":
    sys.exit(main())
