"""``card``: MODEL_CARD.md (Mitchell et al. 2019), its figures taken from the .json files of the shipped models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from edge_agent.detectors.built_in_file import SHIPPED, DetectorInfo
from edge_agent.detectors.built_in_file import read_info as read_detector_info
from edge_agent.errors import InputError
from edge_agent.vision.model import Head, ModelInfo, read_info
from training.files import write_atomically
from training.metrics import per_class

TEMPLATE = Path(__file__).parent / "model_card.md"
_HEADS = {"fer2013": "FER-2013 label", "ferplus": "FER+ majority of seven"}


def write_card(models: Path, sweep: Path, to: Path) -> None:
    """Write the card from all models in a folder and the figures in ``sweep``.

    The figures come from ``crop_margin``, ``near_twins`` and ``bias`` of the benchmarks, with ``--write``. Raises
    ModelError where a model's .json is broken, and InputError where figures are of another model than the one that is
    there.
    """
    detector = read_detector_info(SHIPPED.with_suffix(".json"))
    infos = [read_info(path) for path in sorted(models.glob("*.json"))]
    shipped = next(info for info in infos if info.name == "emotion")
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        figures=_figures(infos),
        measured=_measured(infos),
        per_class="\n\n".join(_per_class(shipped, name) for name in shipped.heads),
        wild=_wild(sweep, infos),
        **_public_test(sweep, infos),
        **_rows(shipped),
        sizes=_sizes(infos),
        training=_training(infos),
        default_head=shipped.default_head,
        calibration=_calibration(shipped),
        **_bias(sweep, infos, detector),
        **_detector(detector),
    )
    write_atomically(to, text.encode())


def _figures(infos: list[ModelInfo]) -> str:
    rows = [
        (
            f"`{info.name}`",
            _HEADS[name],
            f"{100 * head.figures['accuracy']:.1f} %",
            f"{head.figures['macro_f1']:.3f}",
            f"{100 * head.figures['calibration_error']:.1f} %",
            f"{head.figures['images']:.0f}",
        )
        for info in infos
        for name, head in info.heads.items()
    ]
    return _table(("model", "against the", "accuracy", "macro-F1", "calibration error", "images"), rows)


def _per_class(info: ModelInfo, name: str) -> str:
    head = info.heads[name]
    figures, there = per_class(np.array(head.confusion)), np.array(head.confusion).sum(1)
    rows = [
        (label, *(f"{figures[f][i]:.2f}" for f in ("precision", "recall", "f1")), str(there[i]))
        for i, label in enumerate(info.labels)
    ]
    return f"`{info.name}`, {_HEADS[name]}:\n\n" + _table(("emotion", "precision", "recall", "F1", "images"), rows)


def _measured(infos: list[ModelInfo]) -> str:
    """With which runtime, where and when the figures were measured; models measured alike share a line."""
    names: dict[str, list[str]] = {}
    for info in infos:
        how = info.provenance["measured"]
        names.setdefault(f"{how['runtime']} on {how['machine']}", []).append(f"`{info.name}`")
    return "; ".join(f"{' and '.join(models)}: {how}" for how, models in names.items())


def _results(path: Path, infos: list[ModelInfo]) -> dict[str, Any]:
    """The figures of a benchmark, which must be of the model that is there now."""
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if results["model_sha256"] not in {info.sha256 for info in infos if info.name == results["model"]}:
        raise InputError(f"{path}: was measured with another {results['model']}.tflite; run its benchmark again")
    return results


def _wild(folder: Path, infos: list[ModelInfo]) -> str:
    rows = []
    for path in sorted(folder.glob("crop_margin*.json")):
        sweep = _results(path, infos)
        for name, figures in sweep["heads"].items():
            rows.append(
                (
                    sweep["model"],
                    sweep["detector"],
                    _HEADS[name],
                    f"{figures['stated_in_use']:.3f}",
                    f"{sweep['not_found']['stated']} of {sweep['photos']['stated']}",
                    sweep["date"],
                )
            )
    return _table(("model", "detector", "head", "balanced accuracy", "faces not found", "measured"), rows)


def _public_test(folder: Path, infos: list[ModelInfo]) -> dict[str, str]:
    """Why PublicTest is easier, and its labels less certain, than its figures say."""
    facts = _results(folder / "near_twins.json", infos)
    widest = facts["rows"][-1]
    others = " and ".join(f"{100 * f['others']:.1f} % ({_HEADS[name]})" for name, f in widest["heads"].items())
    return {
        "twins": f"{widest['twins']} of its {facts['images']:,} images have a near twin in Training (correlation from "
        f"{widest['correlation']:.2f}).\nOn the others `{facts['model']}` is right in {others}",
        "tied": str(facts["tied_votes"]),
    }


def _bias(folder: Path, infos: list[ModelInfo], detector: DetectorInfo) -> dict[str, str]:
    """Two tables by group: how faces are found and how surely they are read, and what they are read as."""
    path = folder / "bias.json"
    audit = _results(path, infos)
    if audit["detector_sha256"] != detector.sha256:
        raise InputError(f"{path}: was measured with another {SHIPPED.name}; run its benchmark again")
    found, read = [], []
    for row in audit["groups"]:
        group = f"{row['grouping'].replace('_group', '')} {row['group']}"
        shares = [_interval(row["found"][name]) for name in ("yunet", "built_in")]
        found.append((group, str(row["pictures"]), *shares, *(_interval(row[name]) for name in ("left_out", "doubt"))))
        read.append((group, *(_interval(share, 0) for share in row["shares"])))
    return {
        "bias_found": _table(("group", "pictures", "YuNet finds", "built-in finds", "left out", "doubt"), found),
        "bias_read": _table(("group", *audit["labels"]), read),
        "bias_pictures": f"{audit['pictures']:,}",
        "bias_frame": f"{audit['frame'][0]}x{audit['frame'][1]}",
        "bias_side": str(audit["picture_px"]),
        "bias_measured": f"{audit['head']} head of `{audit['model']}`, {audit['machine']}",
    }


def _interval(figure: Sequence[float], decimals: int = 1) -> str:
    """A share and the ends of its interval, in percent."""
    value, low, high = (f"{100 * end:.{decimals}f}" for end in figure)
    return f"{value} ({low} to {high})"


def _rows(info: ModelInfo) -> dict[str, str]:
    """How many rows of each split the data had, before any was dropped."""
    run = info.provenance["training"]
    training = run["images"]["training"] + sum(run["dropped_from_training"].values())
    public = run["images"]["selection"] + run["images"]["calibration"]
    return {"training_rows": f"{training:,}", "public_rows": f"{public:,}"}


def _sizes(infos: list[ModelInfo]) -> str:
    rows = []
    for info in infos:
        run = info.provenance["training"]
        millions = f"{run['parameters'] / 1e6:.2f} M", f"{run['multiply_adds'] / 1e6:.1f} M"
        rows.append((f"`{info.name}.tflite`", *millions, f"{info.size_bytes / 1e6:.2f} MB", f"`{info.sha256[:12]}`"))
    return _table(("file", "parameters", "multiply-adds", "size", "sha256 begins"), rows)


def _training(infos: list[ModelInfo]) -> str:
    lines = []
    for info in infos:
        run, conversion = info.provenance["training"], info.provenance["conversion"]
        dropped = ", ".join(
            f"{count} {reason.replace('_', ' ')}" for reason, count in run["dropped_from_training"].items()
        )
        descents = _descents(run)
        lines += [
            f"- `{info.name}` came from these, one after the other:",
            *(f"    - {_descent(descent)}" for descent in descents),
            f"    - {run['images']['training']} training images (dropped: {dropped}); int8 ranges from "
            f"{conversion['representative_images']} images",
            f"    - keras {run['versions']['keras']}, TensorFlow {conversion['tensorflow']}; exported "
            f"{info.provenance['exported']}",
            *(f"    - note on `{r['recipe']}`, seed {r['seed']}: {r['note']}" for r in descents if "note" in r),
        ]
    hashes = infos[0].provenance["training"]["data_sha256"]
    lines += [f"- data: `{name}`, sha256 `{digest}`" for name, digest in hashes.items()]
    return "\n".join(lines)


def _descents(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs that the weights went through, the first one first."""
    before = run.get("begun_with")
    return [*(_descents(before) if before else ()), run]


def _descent(run: dict[str, Any]) -> str:
    if "file" in run:
        return f"`{run['file']}` (sha256 `{run['sha256'][:12]}`), whose weights it began with"
    limit = run["hyperparameters"]["network"].get("limit")
    cut = f", limit {limit:g}" if limit else ""
    taught = f", distilled from {' and '.join(run['teachers'])}" if run["teachers"] else ""
    return f"recipe `{run['recipe']}` (seed {run['seed']}, {run['epochs']} epochs{cut}{taught})"


def _calibration(info: ModelInfo) -> str:
    def one(name: str, head: Head) -> str:
        return f"{_HEADS[name]}: T = {head.temperature:.3f}, b = ({', '.join(f'{b:+.2f}' for b in head.bias)})"

    return "; ".join(one(name, head) for name, head in info.heads.items())


def _detector(info: DetectorInfo) -> dict[str, str]:
    """What the card says of the face detector."""
    run = info.provenance["training"]
    rows = [
        (
            size,
            *(f"{100 * figures[name]:.1f} %" for name in ("recall_12px", "recall_48px")),
            str(figures["false_alarms"]),
        )
        for size, figures in info.figures.items()
    ]
    at = next(iter(info.figures.values()))["by_size"]
    spans = [
        (span.replace("-1000", " and more"), f"{100 * share:.1f} %", str(faces)) for span, (share, faces) in at.items()
    ]
    terms = [
        f"{name} ({sum(sources.values()):,}: {', '.join(sorted(sources))})"
        for name, sources in sorted(run["scenes_by_terms"].items())
    ]
    return {
        "detector_file": f"`{SHIPPED.name}`, {run['parameters'] / 1e6:.2f} M parameters, "
        f"{run['multiply_adds_320x256'] / 1e6:.0f} M multiply-adds at 320x256, {info.size_bytes / 1e6:.2f} MB, "
        f"sha256 begins `{info.sha256[:12]}`; {run['epochs']} epochs of recipe `{run['recipe']}`",
        "detector_figures": _table(("size", "faces from 12 px found", "from 48 px", "false alarms"), rows),
        "detector_sizes": _table(("face in the 320x240 frame, px", "found at 320", "faces"), spans),
        "detector_score": f"{info.min_score:g}",
        "detector_measured": f"{info.provenance['measured']['runtime']} on {info.provenance['measured']['machine']}",
        "detector_terms": "; ".join(terms),
    }


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
