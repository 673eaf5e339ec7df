"""Writes the tables of stored figures into the pages again, without measuring; for a change of their wording.

python -m benchmarks.rewrite            # --check: only say which page differs
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import (
    agreement,
    backbones,
    doubt,
    near_twins,
    prevalence,
    quality,
    robustness,
    sd_card,
    shares_elsewhere,
    tracking,
)
from benchmarks.written import read_between, write_between

ROOT = Path(__file__).parents[1]


def blocks() -> Iterator[tuple[Path, str, str]]:
    """(page, name of the block, its text) for each table whose figures are stored."""
    for module, name, write in (
        (agreement, "agreement", agreement.describe),
        (backbones, "backbones", backbones.table),
        (doubt, "doubt", doubt.table),
        (near_twins, "near twins", near_twins.table),
        (quality, "quality", quality.tables),
        (sd_card, "sd card", sd_card.describe),
        (shares_elsewhere, "elsewhere", shares_elsewhere.table),
        (tracking, "tracking", tracking.table),
    ):
        figures = module.RESULT if hasattr(module, "RESULT") else module.FIGURES
        yield ROOT / module.PAGE, name, write(json.loads((ROOT / figures).read_text(encoding="utf-8")))
    now, before = (json.loads(path.read_text(encoding="utf-8")) for path in (robustness.NOW, robustness.BEFORE))
    yield ROOT / robustness.PAGE, "robustness", robustness.table(now, before)
    for labels, figures in prevalence.FIGURES.items():
        result = json.loads((ROOT / figures).read_text(encoding="utf-8"))
        yield (
            ROOT / prevalence.PAGE,
            f"prevalence {labels}",
            f"{prevalence.table(result)}\n\n{prevalence.table_of_halvings(result)}",
        )


def main() -> int:
    """Write them all, or with ``--check`` only name those that differ; then 1 if one did."""
    if "--check" not in sys.argv[1:]:
        for page, name, text in blocks():
            write_between(page, name, text)
        return 0
    stale = [f"{page.relative_to(ROOT)}: {name}" for page, name, text in blocks() if read_between(page, name) != text]
    print("\n".join(stale))
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
