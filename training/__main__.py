"""``python -m training``: look at the data, fit a model, evaluate it, report on it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from training.commands import add_data, run, source_of
from training.data import PUBLIC, SPLITS, find_source
from training.recipe import RECIPES, find_recipe, load_recipe
from training.tuning.space import SPACES, find_space, load_space


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code of errors.py's table."""
    return run(_parser(), arguments, "%(asctime)s %(message)s")


def _fit(options: argparse.Namespace) -> None:
    changes = {key: value for key in ("epochs", "seed") if (value := getattr(options, key)) is not None}
    recipe = load_recipe(find_recipe(options.recipe), **changes)
    source = source_of(options)
    from training.train import fit  # after the arguments are known to be right: it imports Keras

    photos = None if options.photos is None else find_source(options.photos)
    run = options.run or Path("runs") / recipe.name
    fit(recipe, source, run, teachers=options.teacher, begin_with=options.begin_with, photos=photos)


def _evaluate(options: argparse.Namespace) -> None:
    source = source_of(options)
    from training.evaluate import describe

    print(describe(options.run, source, options.split))


def _report(options: argparse.Namespace) -> None:
    source = source_of(options)
    from training.report import report

    print(report(options.run, source, options.split))


def _tune(options: argparse.Namespace) -> None:
    space, recipe = load_space(find_space(options.space))
    source = source_of(options)
    import optuna  # noqa: F401  before Keras, which its extra brings

    from training.tuning.study import Search, tune

    folder = options.to or Path("runs") / space.name
    search = Search(space, recipe, source, folder, teachers=tuple(options.teacher), begin_with=options.begin_with)
    print(tune(search, options.trials, options.storage))


def _average(options: argparse.Namespace) -> None:
    source = source_of(options)
    from training.train import average_with

    scores = average_with(options.begun_with, options.run, options.share, source=source, to=options.to)
    print(f"{options.to}  " + "  ".join(f"{name} {value:.4f}" for name, value in scores.items()))


def _data(options: argparse.Namespace) -> None:
    source = source_of(options)
    from training.survey import survey

    print(survey(source, options.to))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shipped = ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))
    fit = commands.add_parser("fit", help="train a model, or go on with a run that was interrupted")
    fit.set_defaults(command=_fit)
    fit.add_argument("recipe", help=f"a YAML file, or the name of one in training/recipes ({shipped})")
    fit.add_argument("--run", type=Path, help="the run's folder (default: runs/NAME_OF_THE_RECIPE)")
    _add_starts(fit)
    fit.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="learn from this folder's images, too (train/angry/...)"
    )
    fit.add_argument("--epochs", type=int, help="instead of the recipe's")
    fit.add_argument("--seed", type=int, help="instead of the recipe's")
    add_data(fit)
    tune = commands.add_parser("tune", help="search for a better recipe, with as many workers as you like")
    tune.set_defaults(command=_tune)
    spaces = ", ".join(sorted(path.stem for path in SPACES.glob("*.yaml")))
    tune.add_argument("space", help=f"a YAML file, or the name of one in training/tuning/spaces ({spaces})")
    tune.add_argument("--trials", type=int, metavar="N", help="finished trials of all workers together (20; grid: all)")
    tune.add_argument(
        "--storage",
        metavar="URL",
        help="what the workers share: sqlite:///FILE (default: in the folder) or postgresql:",
    )
    tune.add_argument("--to", type=Path, metavar="FOLDER", help="of runs and page (default: runs/NAME_OF_THE_SPACE)")
    _add_starts(tune)
    add_data(tune)
    average = commands.add_parser("average", help="a run between a finished one and what it began with")
    average.set_defaults(command=_average)
    average.add_argument("run", type=Path, help="the finished run")
    average.add_argument(
        "--with", dest="begun_with", type=Path, required=True, help="what it began with: as fit --from"
    )
    average.add_argument("--share", type=float, default=0.5, help="of the finished run's weights (%(default)s)")
    average.add_argument("--to", type=Path, required=True, help="the new run's folder")
    add_data(average)
    data = commands.add_parser("data", help="write an HTML page of what is in the data: counts, duplicates, examples")
    data.set_defaults(command=_data)
    data.add_argument("--to", type=Path, default=Path("runs") / "data", help="the page's folder (default: %(default)s)")
    add_data(data)
    for name, command, summary in (
        ("evaluate", _evaluate, "accuracy, macro-F1 and calibration error of a run's float model"),
        ("report", _report, "write an HTML page with curves, confusion matrices and mistakes into a run folder"),
    ):
        sub = commands.add_parser(name, help=summary)
        sub.set_defaults(command=command)
        sub.add_argument("run", type=Path)
        sub.add_argument("--split", choices=SPLITS, default=PUBLIC, help="(%(default)s)")
        add_data(sub)
    return parser


def _add_starts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--teacher", type=Path, nargs="+", default=[], metavar="RUN", help="distil from these runs or .tflite files"
    )
    parser.add_argument(
        "--from",
        dest="begin_with",
        type=Path,
        metavar="RUN",
        help="begin with the weights of this finished run, or int8 .tflite",
    )


if __name__ == "__main__":
    sys.exit(main())
