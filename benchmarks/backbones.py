"""Known networks beside ours, as int8: what they cost, and what they reach where one was trained to its end.

What a network costs does not depend on its weights, so networks that nobody trained are converted with random ones.
Their accuracy stays empty.

    python -m benchmarks.backbones --data ../shared/data --write [--run runs/lite0 ...]    # docs/transfer.md

A ``--run`` is a folder after ``fit`` and ``quantization convert``; one that has not all its epochs is refused.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.written import write_between
from edge_agent.host.runtime import open_interpreter
from edge_agent.vision.model import MODELS, load_model
from quantization.answers import ask
from quantization.convert import FLOAT, INT8, quantized
from training.data import HEADS, PUBLIC, Faces, find_source, load
from training.machine import describe_machine
from training.recipe import Backbone, find_recipe, load_recipe

if TYPE_CHECKING:
    import keras

RECIPES = ("lite0", "mobilenetv2", "resnet50", "vgg16")
FIGURES, PAGE = Path("benchmarks/results/backbones.json"), Path("docs/transfer.md")
_RANGES = 16
"""Images that set the ranges of a network whose answers mean nothing."""
_RUNS = 50
_LABELS = {"fer2013": "FER-2013", "ferplus": "FER+"}


@dataclass(frozen=True)
class Row:
    """One network."""

    name: str
    weights: str
    """What it began with."""
    epochs: int | None
    """None where it was not trained."""
    parameters: int
    multiply_adds: int
    size_bytes: int
    """Of the int8 file."""
    fastest_ms: float
    """Processor time of one face on one thread: the least of _RUNS, as other programs may run."""
    accuracy: dict[str, float] | None
    """Of the int8 file on PublicTest, by head."""
    int8_loss: dict[str, float] | None
    """By how much the float model is right more often; None where there is no float model."""


def main() -> None:
    """Measure, print, and write where asked."""
    options = _options()
    faces = load(find_source(options.data))
    public = faces[faces.splits == PUBLIC]
    rows = [asdict(row) for row in (*_ours(public), *_trained(options.run, public))]
    done = {row["name"] for row in rows}
    kept = json.loads(FIGURES.read_text(encoding="utf-8"))["rows"] if options.keep else []
    rows += [row for row in kept if row["name"] in RECIPES and row["name"] not in done]
    done |= {row["name"] for row in rows}
    rows += [asdict(_untrained(name, public)) for name in RECIPES if name not in done]
    runtime, _ = open_interpreter((MODELS / "emotion.tflite").read_bytes())
    result = {"machine": f"{describe_machine()}, {runtime}", "rows": rows}
    print(text := table(result))
    if options.write:
        FIGURES.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        write_between(PAGE, "backbones", text)


def _ours(public: Faces) -> Iterator[Row]:
    """The shipped models, whose float weights ship for some."""
    from training.released import WEIGHTS, read_weights

    for path in sorted(MODELS.glob("*.tflite")):
        run = load_model(path).info.provenance["training"]
        right = accuracy(ask(path, public.images), public)
        floats = WEIGHTS / f"{path.stem}.npz"
        exact = accuracy(_predict(read_weights(floats)[0], public), public) if floats.is_file() else None
        yield Row(
            name=f"ours, {path.stem} {load_model(path).info.sha256[:12]}",
            weights=begun_with(run),
            epochs=sum(r.get("epochs", 0) for r in _descent(run)),
            parameters=run["parameters"],
            multiply_adds=run["multiply_adds"],
            size_bytes=path.stat().st_size,
            fastest_ms=fastest_ms(path.read_bytes()),
            accuracy=right,
            int8_loss=exact and {head: round(exact[head] - right[head], 6) for head in right},
        )


def _descent(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs that the weights went through."""
    before = run.get("begun_with")
    return [*(_descent(before) if before else ()), run]


def begun_with(run: dict[str, Any]) -> str:
    """The file that the first of the runs began with, or ``random``."""
    first = _descent(run)[0]
    return f"{first['file']} {first['sha256'][:12]}" if "file" in first else "random"


def _trained(runs: list[Path], public: Faces) -> Iterator[Row]:
    for run in runs:
        recipe = load_recipe(run / "config.yaml")
        done = len(json.loads((run / "history.json").read_text(encoding="utf-8")))
        if done < recipe.epochs or not isinstance(recipe.network, Backbone):
            raise SystemExit(f"{run}: {done} of {recipe.epochs} epochs; an accuracy is stated of a finished run only")
        facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
        right, exact = (accuracy(ask(run / name, public.images), public) for name in (INT8, FLOAT))
        yield Row(
            name=recipe.name,
            weights=begun_with(facts),
            epochs=sum(r.get("epochs", 0) for r in _descent(facts)),
            parameters=facts["parameters"],
            multiply_adds=facts["multiply_adds"],
            size_bytes=(run / INT8).stat().st_size,
            fastest_ms=fastest_ms((run / INT8).read_bytes()),
            accuracy=right,
            int8_loss={head: round(exact[head] - right[head], 6) for head in right},
        )


def _untrained(name: str, public: Faces) -> Row:
    from training.model import build, multiply_adds

    network = load_recipe(find_recipe(name)).network
    model = build(network)
    content = quantized(model, network, public.images[:_RANGES])
    return Row(
        name=name,
        weights="",
        epochs=None,
        parameters=int(model.count_params()),
        multiply_adds=multiply_adds(model),
        size_bytes=len(content),
        fastest_ms=fastest_ms(content),
        accuracy=None,
        int8_loss=None,
    )


def _predict(model: keras.Model, public: Faces) -> dict[str, NDArray[np.float32]]:
    answers: dict[str, NDArray[np.float32]] = model.predict(public.images[..., None].astype(np.float32), verbose=0)
    return answers


def accuracy(answers: dict[str, NDArray[np.float32]], public: Faces) -> dict[str, float]:
    """Share of right top labels by head; before calibration."""
    found = {}
    for head, labels in public.labels_by_head().items():
        known = labels >= 0
        found[head] = round(float((answers[head][known].argmax(1) == labels[known]).mean()), 6)
    return found


def fastest_ms(content: bytes) -> float:
    """Processor time of one face on one thread, the least of several."""
    _, interpreter = open_interpreter(content)
    times = []
    for _ in range(_RUNS):
        begin_s = time.process_time()
        interpreter.invoke()
        times.append(time.process_time() - begin_s)
    return round(1000 * min(times), 2)


def table(result: dict[str, Any]) -> str:
    """The rows as Markdown."""
    heads = ", ".join(_LABELS[head] for head in HEADS)
    titles = (
        "network",
        f"right, {heads}",
        "int8 loss, points",
        "multiply-adds",
        "int8 file",
        "ms",
        "weights",
        "epochs",
    )
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in result["rows"]:
        right = _both(row["accuracy"], "{:.1f} %")
        cells = (
            f"`{row['name']}`" if row["epochs"] is None else f"**{row['name']}**",
            right,
            _both(row["int8_loss"], "{:.1f}"),
            f"{row['multiply_adds'] / 1e6:.0f} M",
            f"{row['size_bytes'] / 1e6:.1f} MB",
            f"{row['fastest_ms']:.1f}",
            row["weights"],
            "" if row["epochs"] is None else str(row["epochs"]),
        )
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"PublicTest, int8, before calibration; ms: processor time of one face, the least of {_RUNS}. Empty: not "
        f"trained yet, so only its cost is known. Measured on {result['machine']}. "
        "`python -m benchmarks.backbones --write`",
    ]
    return "\n".join(lines)


def _both(figures: dict[str, float] | None, form: str) -> str:
    return "" if figures is None else ", ".join(form.format(round(100 * figures[head], 1) + 0.0) for head in HEADS)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--run", type=Path, nargs="+", default=[], help="finished and converted runs on a backbone")
    parser.add_argument("--keep", action="store_true", help="keep the rows of known networks that are there already")
    parser.add_argument("--write", action="store_true", help=f"write {FIGURES} and the table in {PAGE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
