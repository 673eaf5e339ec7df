"""Promise 22: the store is gentle to SD cards."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from benchmarks import sd_card

LIMIT_MB = 150


def test_a_day_writes_less_than_the_promised_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of a day in a row; the benchmark measures a whole one, and at true pace on ext4."""
    monkeypatch.setattr(sd_card, "DAY_S", sd_card.DAY_S / 20)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        measured = sd_card.a_day_in_a_row(Path(name))
    if measured["written_mb_per_day"] == 0:
        pytest.skip("the kernel counts no writes on this file system")
    assert 0 < measured["written_mb_per_day"] * 20 < LIMIT_MB
