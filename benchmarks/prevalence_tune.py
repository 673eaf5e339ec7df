"""How the settings of the shares were chosen: each is varied, on the calibration half of PublicTest alone.

That half is divided in two again, many times. Each cell is the mean reduction of the plain mean's error and how often
the 90 % intervals hold, in per cent.

    python -m benchmarks.prevalence_tune --data ../shared/data
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.prevalence import FIGURES, WINDOWS
from benchmarks.shares import HALVINGS, ROWS, SMALL_ROWS, ask, distinct, halvings, measure_halvings
from edge_agent.shares.estimate import Settings
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.model import load_model
from training.data import divide, find_source, load

GRID: dict[str, list[object]] = {
    "odds": [(1, 1, 1), (2, 1, 1), (4, 1, 1), (1, 2, 1)],
    "prior_people": [3.0, 30.0],
    "label_trust": [0.0, 0.5, 1.0],
    "reference_doubt": [1.0, 2.0],
    "moderate_shift": [10.0, 40.0],
    "interval_sds": [1.645, 1.9],
}


def main() -> None:
    """Print a line for each setting, head by head."""
    options = _options()
    calibration = distinct(divide(load(find_source(options.data))).calibration)
    rows = (*ROWS, *SMALL_ROWS)
    for labels in FIGURES:
        parts = list(halvings(ask(Classifier(load_model(options.model), head=labels), calibration)))
        print(f"{labels}: reduction | coverage, for", "  ".join(f"{row.people}/{row.shift}" for row in rows))
        # Beyond the shipped limit, so that the rows of few people show from where on the correction helps.
        base = replace(Settings(), correct_from_people=1)
        variants = {"as shipped, from 1": base} | {
            f"{name}={value}": replace(base, **{name: value})  # type: ignore[arg-type]
            for name, values in GRID.items()
            for value in values
        }
        for name, settings in variants.items():
            cells = [measure_halvings(row, parts, settings, options.windows // HALVINGS) for row in rows]
            text = (f"{100 * np.mean(c['reduction']):5.1f}|{100 * np.mean(c['coverage']):4.1f}" for c in cells)
            print(f"{name:24}", "  ".join(text), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with fer2013.csv.gz")
    parser.add_argument("--model", type=Path, help="a .tflite file (default: the shipped model)")
    parser.add_argument("--windows", type=int, default=WINDOWS, help="groups a cell")
    return parser.parse_args()


if __name__ == "__main__":
    main()
