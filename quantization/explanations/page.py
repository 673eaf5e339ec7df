"""The page of the maps: faces with what their answers hang on, the mean of each emotion, and the checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quantization.explanations.checks import Deletion, by_patch, rank_correlations
from quantization.explanations.maps import Images, Maps
from training.pages import Picture, Section, table, write_page

_SHOWN = 4
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#777777"  # apart for colour-blind eyes too (Okabe and Ito)
_FOR, _AGAINST = (213, 94, 0), (0, 114, 178)
_OPAQUE = 0.75


@dataclass(frozen=True)
class Explained:
    """Faces, the answers that are explained, and both maps of each."""

    images: Images
    """Shape (n, height, width)."""
    answers: NDArray[np.int64]
    """Columns of the labels, shape (n,)."""
    sure: NDArray[np.float32]
    """Calibrated probability of each answer, by the int8 file, 0 to 1."""
    occlusion: Maps
    """In nats of the answer's log-odds, shape (n, 12, 12); positive speaks for it."""
    shap: Maps
    gaps: NDArray[np.float32]
    """How far SHAP's map is from adding up to what it explains, in nats, shape (n,)."""

    def __len__(self) -> int:
        return len(self.images)

    def part(self, rows: NDArray[np.int64]) -> Explained:
        """Some of them."""
        return Explained(
            self.images[rows],
            self.answers[rows],
            self.sure[rows],
            self.occlusion[rows],
            self.shap[rows],
            self.gaps[rows],
        )

    def of(self, answer: int) -> Explained:
        """Those with this answer."""
        return self.part(np.flatnonzero(self.answers == answer))


@dataclass(frozen=True)
class Sanity:
    """How alike maps are once the network has changed (Adebayo et al. 2018): rank correlations, shape (n,)."""

    change: str
    occlusion: NDArray[np.float64] | None
    """None where occlusion, which has no chance in it, gives the same map again."""
    shap: NDArray[np.float64]


@dataclass(frozen=True)
class Checks:
    """Why to believe the maps, or not."""

    alike: float
    """Share of images to which float network and int8 file give the same top label."""
    asked: int
    sanity: list[Sanity]
    deletions: dict[str, Deletion]


@dataclass(frozen=True)
class Told:
    """What the page says of how it was made."""

    model: str
    split: str
    runtime: str
    samples: int
    background: int


def write_explanations(
    folder: Path,
    told: Told,
    labels: Sequence[str],
    *,
    chosen: Explained,
    means: dict[int, NDArray[np.float64]],
    mistakes: tuple[Explained, Explained],
    pictures: Sequence[tuple[str, Explained]],
    checks: Checks,
) -> Path:
    """Write ``index.html`` and PNGs into ``folder``; returns the HTML file.

    ``chosen`` are right answers, for means and examples, and ``means`` the mean of all right faces by answer.
    ``mistakes`` are wrong answers, with the maps of the answer and with those of the label. ``pictures`` are faces of
    photos, by the photo's name.
    """
    sections = [
        Section("How to read it", _READING),
        *(
            Section(f"Photo: {name}", pictures=(_photo(number, name, faces, labels=labels),))
            for number, (name, faces) in enumerate(pictures)
        ),
        Section("The mean of each emotion", _MEANS, (Picture("means", _means(chosen, labels, means), _MEANS_CAPTION),)),
        Section("Single faces", _SINGLE, tuple(_examples(chosen, labels))),
        Section("Surest mistakes", _MISTAKES, (Picture("mistakes", _wrong(mistakes, labels), _WRONG_CAPTION),)),
        _trust(chosen, labels, checks),
        Section("How it was made", _made(told, chosen, checks)),
    ]
    lead = f"Which parts of a face the answers of {told.model} hang on."
    return write_page(folder, "Why this answer?", lead, sections=sections)


_READING = (
    "<p>Each map shows how much a part of the face speaks for an answer: "
    '<strong style="color:#d55e00">orange for it</strong>, <strong style="color:#0072b2">blue against it</strong>. '
    "Two ways that have little in common are shown. <em>Occlusion</em> hides the part and asks the int8 file of the "
    "device again. <em>SHAP</em> shares out over the pixels how the float network's answer differs from its mean "
    "answer to other faces. Believe what both show.</p>"
    "<p>The unit is the nat of log-odds: 0.7 doubles the odds of the answer. The maps show what the network used. They "
    "do not show what a person feels.</p>"
)
_MEANS = "<p>Maps of some faces whose answer is right, over the mean of all such faces, which is nobody's.</p>"
_MEANS_CAPTION = (
    "Mean face, mean occlusion map and mean SHAP map of each emotion; the colours of a line have one scale."
)
_SINGLE = "<p>Right answers, picked by a seed and not by hand. Above each face is how sure the int8 file is.</p>"
_MISTAKES = (
    "<p>The wrong answers it is surest of. Many are wrong labels: look at what speaks for the answer, and what for the "
    "label.</p>"
)
_WRONG_CAPTION = "What speaks for the answer (upper lines) and for the label (lower lines)."


def _means(chosen: Explained, labels: Sequence[str], faces: dict[int, NDArray[np.float64]]) -> Figure:
    there = [answer for answer in range(len(labels)) if len(chosen.of(answer))]
    groups = [chosen.of(answer) for answer in there]
    shown = [_stretched(faces[answer]) for answer in there]
    figure = Figure(figsize=(1.55 * len(there), 5.0), layout="constrained")
    grid = figure.subplots(3, len(there), squeeze=False)
    for column, (answer, group, face) in enumerate(zip(there, groups, shown, strict=True)):
        grid[0, column].set_title(f"{labels[answer]}\n{len(group)} faces", fontsize=10)
        _show(grid[0, column], face)
    for line, kind in ((1, "occlusion"), (2, "shap")):
        maps = [getattr(group, kind).mean(axis=0) for group in groups]
        scale = max(float(np.abs(each).max()) for each in maps)
        for axes, face, each in zip(grid[line], shown, maps, strict=True):
            _show(axes, _overlay(face, each, scale))
    _name_lines(grid, ("mean face", "occlusion, int8", "SHAP, float"))
    return figure


def _examples(chosen: Explained, labels: Sequence[str]) -> list[Picture]:
    pictures = []
    for answer, label in enumerate(labels):
        shown = chosen.of(answer)
        if len(shown):
            shown = shown.part(np.arange(min(len(shown), _SHOWN)))
            titles = [f"{100 * sure:.0f} %" for sure in shown.sure]
            pictures.append(Picture(f"faces_{label}", _faces(shown, titles), f"{label.capitalize()}."))
    return pictures


def _photo(number: int, name: str, faces: Explained, *, labels: Sequence[str]) -> Picture:
    figure = Figure(figsize=(4.8, 1.75 * len(faces)), layout="constrained")
    grid = figure.subplots(len(faces), 3, squeeze=False)
    for axes, title in zip(grid[0], ("face", "occlusion, int8", "SHAP, float"), strict=True):
        axes.set_title(title, fontsize=9)
    for row, (answer, sure) in enumerate(zip(faces.answers, faces.sure, strict=True)):
        _draw(list(grid[row]), faces, row)
        _name_lines(grid[row : row + 1], (f"{labels[answer]} {100 * sure:.0f} %",))
    return Picture(f"photo_{number}", figure, f"The faces of {name} as the device cuts them, with its answers.")


def _faces(faces: Explained, titles: Sequence[str]) -> Figure:
    columns = max(len(faces), _SHOWN)
    figure = Figure(figsize=(1.4 * columns, 4.4), layout="constrained")
    grid = figure.subplots(3, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for column, title in enumerate(titles):
        grid[0, column].set_title(title, fontsize=9)
        _draw(list(grid[:, column]), faces, column)
    _name_lines(grid, ("face", "occlusion, int8", "SHAP, float"))
    return figure


def _wrong(mistakes: tuple[Explained, Explained], labels: Sequence[str]) -> Figure:
    given, labelled = mistakes
    figure = Figure(figsize=(1.6 * max(len(given), 1), 8.2), layout="constrained")
    grid = figure.subplots(5, max(len(given), 1), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for column in range(len(given)):
        title = f"{labels[given.answers[column]]} {100 * given.sure[column]:.0f} %"
        title += f"\nlabel {labels[labelled.answers[column]]} {100 * labelled.sure[column]:.0f} %"
        grid[0, column].set_title(title, fontsize=9)
        _draw(list(grid[:3, column]), given, column)
        _draw([None, *grid[3:, column]], labelled, column)
    _name_lines(grid, ("face", "answer:\nocclusion", "answer:\nSHAP", "label:\nocclusion", "label:\nSHAP"))
    return figure


def _draw(lines: Sequence[Axes | None], faces: Explained, number: int) -> None:
    """One face, its occlusion map and its SHAP map, each with a scale of its own, below each other."""
    image = faces.images[number]
    pictures = (
        image,
        *(_overlay(image, each[number], _largest(each[number])) for each in (faces.occlusion, faces.shap)),
    )
    for axes, picture in zip(lines, pictures, strict=True):
        if axes is not None:
            _show(axes, picture)


def _largest(each: Maps) -> float:
    return max(float(np.abs(each).max()), 1e-6)


def _stretched(mean: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Averaging takes the contrast out; it is spread again over all grey levels."""
    return np.interp(mean, (mean.min(), mean.max()), (0, 255)).round().astype(np.uint8)


def _overlay(image: NDArray[np.uint8], each: Maps, scale: float) -> NDArray[np.uint8]:
    """A grey face under a map in colours, four times as large; what is as strong as ``scale`` covers it most."""
    size = (4 * image.shape[1], 4 * image.shape[0])
    grey = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)[..., None]
    strong = cv2.resize(each.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)[..., None] / scale
    cover = _OPAQUE * np.clip(np.abs(strong), 0, 1)
    colour = np.where(strong > 0, np.array(_FOR, np.float32), np.array(_AGAINST, np.float32))
    covered: NDArray[np.uint8] = np.clip(grey * (1 - cover) + colour * cover, 0, 255).astype(np.uint8)
    return covered


def _show(axes: Axes, picture: NDArray[np.uint8]) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.axis("off")


def _name_lines(grid: NDArray[np.object_], names: Sequence[str]) -> None:
    for axes, name in zip(grid[:, 0], names, strict=True):
        axes.text(-0.08, 0.5, name, rotation=90, ha="right", va="center", fontsize=9, transform=axes.transAxes)


def _trust(chosen: Explained, labels: Sequence[str], checks: Checks) -> Section:
    together = rank_correlations(chosen.occlusion, by_patch(chosen.shap))
    by_emotion = [
        (label, int(of.sum()), float(together[of].mean()))
        for answer, label in enumerate(labels)
        if (of := chosen.answers == answer).any()
    ]
    body = (
        "<p><strong>A network that forgot what it learnt gives other maps.</strong> If it did not, the maps would show "
        "pictures and not the network (Adebayo et al. 2018). Rank correlation is 1 where two maps order the parts of a "
        "face alike, and 0 by chance.</p>"
        "<p><strong>Hiding what a map calls important hurts the answer more than hiding at random.</strong> The lower "
        "line is the better map (Petsiuk et al. 2018).</p>"
        "<p>How alike both ways order the parts of a face, SHAP added up over the patches of occlusion:</p>"
        + table(("emotion", "faces", "rank correlation of occlusion and SHAP"), [*by_emotion, _all(together)])
    )
    sanity = ", ".join(f"{each.change} {_both(each)}" for each in checks.sanity)
    pictures = (
        Picture("sanity", _sanity(checks.sanity), f"Rank correlation with the model's own maps: {sanity}."),
        Picture("deletion", _deletion(checks.deletions), "The answer's log-odds as more of the face is hidden."),
    )
    return Section("Can you trust it?", body, pictures)


def _all(together: NDArray[np.float64]) -> tuple[str, int, float]:
    return "all", len(together), float(together.mean())


def _both(each: Sanity) -> str:
    shown = [f"SHAP {each.shap.mean():.2f}"]
    if each.occlusion is not None:
        shown.insert(0, f"occlusion {each.occlusion.mean():.2f}")
    return ", ".join(shown)


def _sanity(found: Sequence[Sanity]) -> Figure:
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for offset, (kind, colour) in enumerate((("occlusion", _ORANGE), ("shap", _BLUE))):
        values = [getattr(each, kind) for each in found]
        means = [np.nan if each is None else each.mean() for each in values]
        errors = [0.0 if each is None else 1.96 * each.std() / np.sqrt(len(each)) for each in values]
        name = "occlusion" if kind == "occlusion" else "SHAP"
        axes.bar(np.arange(len(found)) + 0.36 * offset, means, 0.34, yerr=errors, color=colour, label=name, capsize=3)
    axes.set_xticks(np.arange(len(found)) + 0.18, [each.change.replace(", ", ",\n") for each in found], fontsize=8)
    axes.axhline(0, color=_GREY, linewidth=1)
    axes.set(ylabel="rank correlation with the model's own maps", ylim=(-0.7, 1.05))
    axes.legend()
    return figure


def _deletion(found: dict[str, Deletion]) -> Figure:
    figure = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for (name, each), colour in zip(found.items(), (_ORANGE, _BLUE, _GREY), strict=True):
        axes.plot(100 * each.hidden, each.log_odds, color=colour, label=name)
    axes.set(xlabel="hidden part of the face, %", ylabel="log-odds of the answer, nats")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _made(told: Told, chosen: Explained, checks: Checks) -> str:
    return table(
        ("what", "value"),
        [
            ("model", told.model),
            ("images", f"{told.split}, {len(chosen)} explained of {checks.asked}"),
            ("float network and int8 file give the same top label", f"{100 * checks.alike:.1f} %"),
            (
                "occlusion",
                f"{told.runtime}, a patch of a third of each side, in steps of a twelfth, filled with the mean grey",
            ),
            (
                "SHAP",
                f"GradientExplainer, {told.samples} samples a face, {told.background} Training images as background",
            ),
            ("SHAP's maps miss what they should add up to by, nats", float(chosen.gaps.mean())),
        ],
    )
