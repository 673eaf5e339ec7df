"""What most faces before this camera suffer from: a fault of the camera or of the light, for somebody to repair.

Judged on twenty people, so it says nothing about any of them. Only counts are kept, and only until the next verdict.
"""

from __future__ import annotations

from collections import Counter

from edge_agent.types import Trouble
from edge_agent.vision.quality import Reason

JUDGED_PEOPLE = 20
"""So many people have to be seen before anything is said."""
SIGHTINGS = 2
"""Who was seen less often is left out of this count: false faces flash up and are gone."""
KEPT_TRACKS = 500
"""Tracks that are remembered at most, the newest."""

_WORDS = {
    Trouble.UPSIDE_DOWN: ("faces are upside down", "set camera.rotate_deg to {rotate_deg}"),
    Trouble.TURNED_LEFT: ("faces lie on their side", "set camera.rotate_deg to {rotate_deg}"),
    Trouble.TURNED_RIGHT: ("faces lie on their side", "set camera.rotate_deg to {rotate_deg}"),
    Trouble.TILTED: ("faces are tilted", "level the camera"),
    Trouble.DARK: ("faces are too dark", "light in front of the people, not behind them"),
    Trouble.WASHED_OUT: ("faces are washed out", "turn the camera away from windows and lamps"),
    Trouble.NOISY: ("the picture is too noisy", "more light in front of the people"),
    Trouble.BLURRED: ("faces are out of focus", "focus the camera, clean its lens, more light where people walk fast"),
}
_TROUBLES: dict[Reason, Trouble] = {
    "tilted": Trouble.TILTED,
    "dark": Trouble.DARK,
    "washed_out": Trouble.WASHED_OUT,
    "noisy": Trouble.NOISY,
    "blurred": Trouble.BLURRED,
}
_BY_QUARTER = (Trouble.TILTED, Trouble.TURNED_RIGHT, Trouble.UPSIDE_DOWN, Trouble.TURNED_LEFT)


def in_words(trouble: Trouble, rotate_deg: int) -> tuple[str, str]:
    """What is wrong, and what helps, where ``camera.rotate_deg`` is this."""
    what, fix = _WORDS[trouble]
    return what, fix.format(rotate_deg=(rotate_deg + (trouble.rotates_by_deg or 0)) % 360)


class View:
    """Counts, for each track, why its faces were left out.

    Args:
        people: how many are judged on.
        sightings: how often each of them has to be seen.
    """

    def __init__(self, people: int = JUDGED_PEOPLE, sightings: int = SIGHTINGS) -> None:
        self._judged_people, self._sightings = people, sightings
        self.trouble: Trouble | None = None
        """The last verdict; None where most faces are fine, and before the first verdict."""
        self._tracks: dict[int, Counter[Reason | None]] = {}
        self._quarters = [0.0] * 4

    def see(self, track: int, reason: Reason | None) -> None:
        """One face of this track was left out for this reason, or None: was read."""
        if track not in self._tracks and len(self._tracks) >= KEPT_TRACKS:
            del self._tracks[next(iter(self._tracks))]
        self._tracks.setdefault(track, Counter())[reason] += 1

    def lean(self, quarters: list[float]) -> None:
        """One tilted face would look upright so much (log odds) after no, one, two and three quarter turns back."""
        self._quarters = [a + b for a, b in zip(self._quarters, quarters, strict=True)]

    def judge(self) -> bool:
        """Come to a verdict and begin a new count, once there were enough people; True when the verdict changed."""
        people = [reasons for reasons in self._tracks.values() if reasons.total() >= self._sightings]
        if len(people) < self._judged_people:
            return False
        [(reason, count)] = Counter(reasons.most_common(1)[0][0] for reasons in people).most_common(1)
        before, self.trouble = self.trouble, None
        if reason in _TROUBLES and 2 * count > len(people):
            self.trouble = self._turned() if reason == "tilted" else _TROUBLES[reason]
        self._tracks, self._quarters = {}, [0.0] * 4
        return self.trouble is not before

    def _turned(self) -> Trouble:
        return _BY_QUARTER[max(range(4), key=self._quarters.__getitem__)]
