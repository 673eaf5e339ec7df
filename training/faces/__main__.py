"""``python -m training.faces``: train the face detector and look at what came out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.commands import run
from training.faces.commands import add_data
from training.faces.recipe import RECIPES, load_recipe


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code of errors.py's table."""
    return run(_parser(), arguments, "%(asctime)s %(message)s")


def _fit(options: argparse.Namespace) -> None:
    from training.faces.train import fit

    recipe = load_recipe(options.recipe)
    if options.epochs is not None:
        recipe = recipe.model_copy(update={"epochs": options.epochs})
    fit(recipe, options.data, options.run or Path("runs") / f"faces-{recipe.name}", begin_with=options.begin_with)


def _report(options: argparse.Namespace) -> None:
    from training.faces.report import report

    print(report(options.run, options.data))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.faces", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    fit = commands.add_parser("fit", help="train a recipe, or go on with a run that was stopped")
    fit.set_defaults(command=_fit)
    add_data(fit)
    fit.add_argument("--recipe", type=Path, default=RECIPES / "base.yaml", help="(default: %(default)s)")
    fit.add_argument("--run", type=Path, help="the run's folder (default: runs/faces-RECIPE)")
    fit.add_argument("--epochs", type=int, help="instead of the recipe's; a run that is resumed may be made longer")
    fit.add_argument(
        "--from", dest="begin_with", type=Path, metavar="MODEL", help="begin with this .keras file's weights"
    )
    report = commands.add_parser("report", help="recall by size and false alarms, as a page in the run's folder")
    report.set_defaults(command=_report)
    add_data(report)
    report.add_argument("run", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
