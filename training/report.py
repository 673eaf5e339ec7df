"""``report``: one HTML file that needs nothing else, and its pictures as PNGs, in the run folder."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from edge_agent.errors import InputError
from training import plots
from training.data import EMOTIONS, Source
from training.evaluate import Judgement, judge
from training.files import write_atomically
from training.metrics import per_class

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .2rem .8rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } tr:nth-child(even) { background: #f3f3f3; }
img { max-width: 100%; } pre { background: #f3f3f3; padding: 1rem; overflow-x: auto; }
"""


def report(run: Path, source: Source, split: str) -> Path:
    """Write ``report/index.html`` and PNGs into the run folder; returns the HTML file.

    The surest mistakes show images of the data set, so a report stays where the data may be. Raises InputError where
    the run lacks a file, or the data images of that split.
    """
    history, facts, recipe = (_read(run / name) for name in ("history.json", "run.json", "config.yaml"))
    judgements = judge(run, source, split)
    folder = run / "report"
    folder.mkdir(exist_ok=True)
    parts = [f"<h1>{html.escape(run.name)}</h1>", f"<p>Float model on {split}.</p>", _figures(judgements)]
    for name, figure in _pictures(judgements, json.loads(history)).items():
        png = _png(figure)
        write_atomically(folder / f"{name}.png", png)
        parts.append(f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(png).decode()}">')
    parts += [_per_class(judgement) for judgement in judgements]
    parts.append(f"<h2>The run</h2><pre>{html.escape(facts)}</pre><pre>{html.escape(recipe)}</pre>")
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{html.escape(run.name)}</title><style>{_STYLE}</style>{''.join(parts)}</html>"
    )
    write_atomically(folder / "index.html", page.encode())
    return folder / "index.html"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a run's folder must be as `fit` left it") from error


def _pictures(judgements: list[Judgement], history: list[dict[str, Any]]) -> dict[str, Figure]:
    pictures = {"learning_curves": plots.learning_curves(history)}
    for judgement in judgements:
        pictures[f"confusion_{judgement.head}"] = plots.confusion_matrix(judgement)
    pictures["reliability"] = plots.reliability_diagram(judgements)
    if (by_agreement := plots.accuracy_by_agreement(judgements)) is not None:
        pictures["accuracy_by_agreement"] = by_agreement
    for judgement in judgements:
        pictures[f"mistakes_{judgement.head}"] = plots.confident_mistakes(judgement)
    return pictures


def _figures(judgements: list[Judgement]) -> str:
    rows = [(judgement.head, *judgement.figures().values(), len(judgement.labels)) for judgement in judgements]
    return _table(("head", "accuracy", "macro-F1", "calibration error (before calibration)", "images"), rows)


def _per_class(judgement: Judgement) -> str:
    figures, there = per_class(judgement.confusion()), judgement.confusion().sum(1)
    rows = [
        (emotion, *(float(figures[name][i]) for name in ("precision", "recall", "f1")), int(there[i]))
        for i, emotion in enumerate(EMOTIONS)
    ]
    return f"<h2>{judgement.head}</h2>" + _table(("emotion", "precision", "recall", "F1", "images"), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else html.escape(str(value))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
