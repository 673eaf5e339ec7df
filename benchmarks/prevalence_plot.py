"""Draws docs/figures/prevalence.png from the figures that benchmarks/prevalence.py wrote.

python -m benchmarks.prevalence_plot      # needs matplotlib (extra train)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.prevalence import FIGURES

HEAD = "ferplus"
"""The one that devices publish by default."""
PICTURE = Path("docs/figures/prevalence.png")
PANELS = {
    "strong": "Any mix of emotions",
    "moderate": "A moderately unusual mix",
    "none": "The mix of the calibration faces",
}
WAYS = {
    "top": ("top labels counted\n(the peers)", "#9aa5b1", "o"),
    "mean": ("plain mean of scores", "#5b6b7a", "s"),
    "ours": ("published", "#0b6e4f", "D"),
}


def main() -> None:
    """Three panels, one for each kind of mix: error against the number of people."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    result = json.loads(FIGURES[HEAD].read_text(encoding="utf-8"))
    plt.rcParams.update({"font.size": 10.5, "axes.spines.top": False, "axes.spines.right": False})
    figure, panels = plt.subplots(1, len(PANELS), figsize=(11, 4.1), sharey=True, layout="constrained")
    for panel, (shift, title) in zip(panels, PANELS.items(), strict=True):
        rows = sorted((row for row in result["rows"] if row["shift"] == shift), key=lambda row: row["people"])
        _draw(panel, rows, title)
    panels[0].set_ylabel("mean error per emotion, percentage points")
    panels[1].set_xlabel("people in the window")
    panels[-1].legend(frameon=False, loc="upper right", labelspacing=0.8)
    facts = result["measured"]
    figure.supxlabel(
        f"FER-2013 PublicTest, the half not used to calibrate; int8 model, {100 * facts['accuracy_selection']:.1f} % "
        f"right; {facts['windows']} windows a point",
        fontsize=9,
        color="#5b6b7a",
    )
    figure.savefig(PICTURE, dpi=150, facecolor="white", metadata={"Software": "benchmarks/prevalence_plot.py"})
    print(f"{PICTURE} written")


def _draw(panel: Any, rows: list[dict[str, Any]], title: str) -> None:
    people = [row["people"] for row in rows]
    for way, (label, colour, marker) in WAYS.items():
        errors = [row["error_points"][way] for row in rows]
        panel.plot(people, errors, color=colour, marker=marker, markersize=5, linewidth=2.2, label=label)
    panel.set_xscale("log")
    panel.set_xticks(people, [f"{n:,}" for n in people])
    panel.minorticks_off()
    panel.set_ylim(bottom=0)
    panel.grid(axis="y", color="#e3e7eb")
    panel.set_title(title, fontsize=11.5, fontweight="bold", loc="left")


if __name__ == "__main__":
    main()
