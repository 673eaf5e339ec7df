"""Reminders that the log, ``edge-agent doctor`` and the page share, so that they say the same."""

from __future__ import annotations

ACKNOWLEDGE_USE = (
    "Reading emotions at a workplace or in a school is banned in the EU (AI Act, article 5(1)(f)): "
    "make sure that this is neither, tell people by a sign, then set privacy.acknowledged_use: true (docs/privacy.md)."
)
"""One sentence; shown while ``privacy.acknowledged_use`` is false."""

FEWER_THAN_THREE = "Demo: figures are shown for fewer than three people, which a real installation withholds."
"""The visible note wherever ``privacy.min_people`` is below 3."""
