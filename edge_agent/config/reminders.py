"""Reminders that the log, ``edge-agent doctor`` and the page share, so that they say the same."""

from __future__ import annotations

ACKNOWLEDGE_USE = (
    "Reading emotions at a workplace or in a school is banned in the EU (AI Act, article 5(1)(f)): "
    "make sure that this is neither, tell people by a sign, then set privacy.acknowledged_use: true (docs/privacy.md)."
)
"""One sentence; shown while ``privacy.acknowledged_use`` is false."""

USUAL_MIN_PEOPLE = 3
"""Below this ``privacy.min_people`` is for demos, and doctor and the page say so."""
