"""``data``: a page that shows what is in a data set before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from training import plots
from training.data import EMOTIONS, SPLITS, TRAINING, Faces, Source, divide, load, not_a_face
from training.metrics import confusion
from training.pages import Picture, Section, table, write_page

_EXAMPLES = 8


def survey(source: Source, folder: Path) -> Path:
    """Write ``index.html`` and PNGs into ``folder``; returns the HTML file.

    The page shows images of the data set, so it stays where the data may be. Raises InputError as ``load`` does.
    """
    faces = load(source)
    division = divide(faces)
    dropped = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in division.dropped.items())
    sections = [
        Section("Images", _counts(faces)),
        Section(
            "Duplicates and what is no face",
            table(("what", "images"), _faults(faces)) + f"<p>A run leaves out of Training: {dropped}.</p>",
        ),
        Section("Examples", pictures=(Picture("examples", _examples(faces), "Some images of each label."),)),
    ]
    if (voted := faces.majority() >= 0).any():
        sections.append(_agreement(faces[voted]))
    return write_page(folder, f"The data in {source.faces.name}", f"{len(faces):,} images.", sections=sections)


def _counts(faces: Faces) -> str:
    splits = [split for split in SPLITS if (faces.splits == split).any()]
    rows: list[tuple[object, ...]] = [
        (emotion, *(int(((faces.labels == i) & (faces.splits == split)).sum()) for split in splits))
        for i, emotion in enumerate(EMOTIONS)
    ]
    rows.append(("all", *(int((faces.splits == split).sum()) for split in splits)))
    return table(("label", *splits), rows)


def _faults(faces: Faces) -> list[tuple[str, int]]:
    """How many images each thing is true of."""
    seen: dict[bytes, list[int]] = {}
    for row, image in enumerate(faces.images):
        seen.setdefault(image.tobytes(), []).append(row)
    twice = [rows for rows in seen.values() if len(rows) > 1]
    crossing = sum(
        int((faces.splits[rows] == TRAINING).sum()) for rows in twice if len(set(faces.splits[rows].tolist())) > 1
    )
    differing = sum(len(rows) for rows in twice if len(set(faces.labels[rows].tolist())) > 1)
    return [
        ("there more than once, bit for bit", sum(len(rows) for rows in twice)),
        ("of these, under different labels", differing),
        ("Training images that are in another split, too", crossing),
        ("no face, by most FER+ votes", int(not_a_face(faces).sum())),
        ("of a single grey", int((np.ptp(faces.images.reshape(len(faces), -1), axis=1) == 0).sum())),
    ]


def _examples(faces: Faces) -> Figure:
    """Evenly picked images, a row for each label."""
    figure = Figure(figsize=(1.1 * _EXAMPLES, 1.15 * len(EMOTIONS)), layout="constrained")
    grid = figure.subplots(len(EMOTIONS), _EXAMPLES)
    for label, line in enumerate(grid):
        rows = np.flatnonzero(faces.labels == label)
        picked = rows[np.linspace(0, len(rows) - 1, min(_EXAMPLES, len(rows))).astype(int)] if len(rows) else rows
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(EMOTIONS[label], fontsize=9)
        for axes, row in zip(line, picked, strict=False):
            axes.imshow(faces.images[row], cmap="gray", vmin=0, vmax=255)
    return figure


def _agreement(voted: Faces) -> Section:
    """FER-2013's label against FER+'s majority, and how far its voters agree."""
    counts = confusion(voted.labels, voted.majority(), len(EMOTIONS))
    agree = 100 * np.trace(counts) / counts.sum()
    cast = voted.votes.sum(1) + voted.other_votes.sum(1)
    pictures = (
        Picture("labels_and_votes", plots.label_matrix(counts), "Where FER+'s voters put the images of each label."),
        Picture(
            "agreement", plots.share_of_voters(voted.votes.max(1) / cast), "How many voters chose what most chose."
        ),
    )
    return Section("Labels and votes", f"<p>Label and majority agree on {agree:.1f} % of the images.</p>", pictures)
