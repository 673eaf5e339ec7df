"""``python -m quantization``: convert a run's model to int8, export it for the device, measure what it is worth."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from edge_agent.vision.model import MODELS
from quantization.release_commands import add_release
from training.commands import add_data, run, source_of
from training.data import HEADS, PUBLIC, SPLITS, Faces, divide, load, load_split


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code of errors.py's table."""
    return run(_parser(), arguments, "%(message)s")


def _convert(options: argparse.Namespace) -> None:
    from quantization.convert import convert

    convert(options.run, divide(_faces(options)).training)


def _layers(options: argparse.Namespace) -> None:
    from quantization.layers import layer_errors

    layer_errors(options.run, divide(_faces(options)).training, print)


def _onnx(options: argparse.Namespace) -> None:
    from quantization.onnx import export_onnx

    export_onnx(options.run)


def _export(options: argparse.Namespace) -> None:
    from quantization.export import export

    export(options.run, options.to, _faces(options), default_head=options.default_head, weights=options.weights)


def _explain(options: argparse.Namespace) -> None:
    source = source_of(options)
    import shap  # noqa: F401  before Keras, which its extra brings

    from quantization.explanations.explain import Wish, explain

    wish = Wish(
        options.model,
        head=options.head,
        split=options.split,
        faces=options.faces,
        samples=options.samples,
        pictures=tuple(options.pictures),
    )
    print(explain(wish, source, options.to or Path("runs") / f"explained-{options.model.stem}"))


def _card(options: argparse.Namespace) -> None:
    from quantization.card import write_card

    write_card(MODELS, options.sweep, options.to)


def _evaluate(options: argparse.Namespace) -> None:
    from quantization import evaluate

    faces = load_split(source_of(options), options.split)
    if options.compare:
        evaluate.compare(options.compare[0], options.compare[1], faces, runtime=options.runtime, show=print)
    elif options.agreement:
        evaluate.agreement(options.model, faces, print)
    else:
        evaluate.evaluate(options.model, faces, options.runtime, dump=options.dump, show=print)


def _same(options: argparse.Namespace) -> None:
    from quantization.evaluate import compare_top_labels

    compare_top_labels(options.first, options.second, print)


def _faces(options: argparse.Namespace) -> Faces:
    return load(source_of(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m quantization", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    convert = _command(commands, "convert", _convert, summary="write int8.tflite and float.tflite into a run folder")
    convert.add_argument("run", type=Path)

    layers = _command(commands, "layers", _layers, summary="a table of the layers by their quantization error")
    layers.add_argument("run", type=Path)

    onnx = commands.add_parser("onnx", help="write a run's float model as model.onnx")
    onnx.set_defaults(command=_onnx)
    onnx.add_argument("run", type=Path)

    export = _command(commands, "export", _export, summary="calibrate a run's int8.tflite, ship it with its .json")
    export.add_argument("run", type=Path)
    export.add_argument("--to", type=Path, default=MODELS / "emotion.tflite", help="(default: %(default)s)")
    export.add_argument("--default-head", choices=HEADS, default="ferplus", help="what a device publishes")

    weights = Path(__file__).parent.parent / "training" / "weights"
    export.add_argument(
        "--weights", type=Path, default=weights, help="folder of the float weights (default: %(default)s)"
    )

    evaluate = _command(
        commands, "evaluate", _evaluate, summary="accuracy, macro-F1 and calibration error, as the device computes"
    )
    evaluate.add_argument("--model", type=Path, default=MODELS / "emotion.tflite", help="(default: %(default)s)")
    evaluate.add_argument("--runtime", choices=("auto", "litert", "tflite"), default="auto")
    evaluate.add_argument("--split", choices=SPLITS, default=PUBLIC)
    evaluate.add_argument(
        "--dump", type=Path, metavar="CSV", help="write the top labels, for `same` on another machine"
    )
    evaluate.add_argument("--compare", type=Path, nargs=2, metavar=("A", "B"), help="any two .tflite files")
    evaluate.add_argument("--agreement", action="store_true", help="of litert and tflite-runtime on the model")

    explain = _command(
        commands, "explain", _explain, summary="an HTML page of which parts of a face the answers hang on"
    )
    explain.add_argument(
        "model", type=Path, nargs="?", default=MODELS / "emotion.tflite", help="a model, or a run folder (%(default)s)"
    )
    explain.add_argument("--head", choices=("default", *HEADS), default="default")
    explain.add_argument("--split", choices=SPLITS, default=PUBLIC)
    explain.add_argument("--faces", type=int, default=20, metavar="N", help="of each emotion (%(default)s)")
    explain.add_argument("--samples", type=int, default=200, metavar="N", help="of SHAP for each face (%(default)s)")
    explain.add_argument(
        "--pictures", type=Path, nargs="+", default=[], metavar="FILE", help="explain the faces of these photos, too"
    )
    explain.add_argument("--to", type=Path, help="the page's folder (default: runs/explained-MODEL)")

    card = commands.add_parser("card", help="write MODEL_CARD.md from the shipped models' .json files")
    card.set_defaults(command=_card)
    root = Path(__file__).parent.parent
    card.add_argument(
        "--sweep", type=Path, default=root / "benchmarks" / "results", help="figures of crop_margin and near_twins"
    )
    card.add_argument("--to", type=Path, default=root / "MODEL_CARD.md")

    add_release(commands)

    same = commands.add_parser("same", help="count the differences of two files that evaluate --dump wrote")
    same.set_defaults(command=_same)
    same.add_argument("first", type=Path)
    same.add_argument("second", type=Path)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    function: Callable[[argparse.Namespace], None],
    *,
    summary: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary)
    command.set_defaults(command=function)
    add_data(command)
    return command


if __name__ == "__main__":
    sys.exit(main())
