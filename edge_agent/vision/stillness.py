"""Tells photographs from people: a face whose place in the picture never changes is not alive.

A place is where a face was found. Every fraction of a second it is described by 36 brightnesses, the means of a grid of
blocks. Each row of pixels is first divided by its own mean, so that neither a lamp's flicker, which comes in bands of
rows, nor the camera's exposure changes them. What the
sensor's noise explains is measured in the same pixels. A photograph stays within that; somebody who sits still
breathes, blinks and sways, and does not. Only these numbers are kept, and no picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from edge_agent.types import Box, TrackedFace
from edge_agent.vision.quality import noise

LOOK_S = 0.4
"""Time between two looks at a place."""
GRID = 6
"""Blocks in each direction."""
INNER = 0.8
"""Share of the box that is looked at: at its edges the background moves."""
LARGEST_PX = 128
"""Larger faces are shrunk to this first, which saves time and averages noise."""
WHITE = 240
"""From this grey level on a pixel may be cut off at 255, and does not follow the lamp's flicker."""
SWING = 0.1
"""By how much of itself such a pixel may be off."""
FLOOR = 0.5
"""Grey levels by which a block may be off beside the noise: rounding and compression."""
CHANGED = 1.8
"""A look has changed where its blocks are off by so many times the variance that noise explains, on average..."""
CALM = GRID * GRID * 3 // 4
"""...of the three quarters that are off the least: all of a face moves, but whoever stands next to a photograph hides
only a part of it."""
OFTEN = 0.3
"""From this share of changed looks on a place is alive..."""
LOOKS, LEAST_LOOKS = 25, 8
"""Looks that are remembered, ten seconds of them, and how many it takes to say anything."""
LATELY, GAP_S = 2, 3.0
"""...if so many of the newest ``LEAST_LOOKS`` changed, too, of those since nobody was found there for some seconds: a
lamp that is switched on, or somebody who steps away from a photograph, changes it once."""
MOVED = 0.5
"""Who is so many face widths away from where their track began is alive, until their new place can be judged."""
SAME_PLACE = 0.5
"""Least intersection over union of a face with a place."""
KEPT_S, KEPT_STILL_S = 5.0, 600.0
"""A place is forgotten when no face was found there for this long; the second is for one that holds a photograph."""
KEPT_PLACES = 200
"""Places that are remembered at most."""


class Life(Enum):
    """What is known of one sighting."""

    UNKNOWN = "unknown"
    ALIVE = "alive"
    STILL = "still"
    """A photograph, a poster, a paused screen."""


@dataclass
class _Look:
    """How a place looks in one frame."""

    blocks: NDArray[np.float32]
    """Brightness of each block relative to its rows, shape (GRID * GRID,)."""
    variance: NDArray[np.float32]
    """What noise and white pixels explain of each, the same shape."""

    def differs(self, usual: NDArray[np.float32]) -> bool:
        """From what is usual there."""
        off = np.square(self.blocks - usual) / self.variance
        return float(np.partition(off, CALM)[:CALM].mean()) > CHANGED


def _usual(looks: Collection[_Look]) -> NDArray[np.float32]:
    """The median, so that somebody who passes before a photograph does not change what is usual."""
    return np.asarray(np.median([look.blocks for look in looks], axis=0), np.float32)


def _changed(looks: Collection[_Look]) -> int:
    """How many differ from what is usual among them."""
    usual = _usual(looks)
    return sum(look.differs(usual) for look in looks)


@dataclass
class _Place:
    """Where a face was found first, and how it has looked since."""

    box: Box
    since_s: float
    """From when on it is judged whether it stays the same."""
    seen_s: float
    looked_s: float
    looks: deque[_Look]
    """The latest ones."""
    photograph: NDArray[np.float32] | None = None
    """How it looked when it was judged still."""
    newest: int = 1
    """How many looks there were since the last gap, ``LEAST_LOOKS`` at most."""
    is_still: bool = False
    is_alive: bool = False
    """Whether it changes more than noise explains."""

    @property
    def is_judged(self) -> bool:
        """Whether there were enough looks."""
        return len(self.looks) >= LEAST_LOOKS

    def look(self, now: _Look, at_s: float, still_s: float) -> None:
        """Compare the latest looks with what is usual here, and judge."""
        self.looks.append(now)
        self.newest = 1 if at_s - self.looked_s > GAP_S else min(self.newest + 1, LEAST_LOOKS)
        self.looked_s = at_s
        if self.photograph is not None and not now.differs(self.photograph):
            self.is_still, self.is_alive = True, False  # whoever stood before it has gone
            return
        if self.is_still:
            self.since_s = at_s  # somebody has come to stand before it, or the light has changed
        often = _changed(self.looks) >= OFTEN * len(self.looks)
        lately = _changed(list(self.looks)[-self.newest :]) >= LATELY
        self.is_alive = self.is_judged and often and lately
        self.is_still = self.is_judged and not often and at_s - self.since_s >= still_s
        if self.is_still:
            self.photograph = _usual(self.looks)


@dataclass
class Stillness:
    """Judges every sighting. Not thread-safe.

    Args:
        still_s: a face that has not changed for this long is left out; 0 judges nobody and takes all for alive.
    """

    still_s: float
    _places: list[_Place] = field(default_factory=list)
    _began: dict[int, tuple[float, float]] = field(default_factory=dict)
    """The middle of each track's first face."""

    def judge(self, image: NDArray[np.uint8], tracked: Sequence[TrackedFace], at_s: float) -> list[Life]:
        """One verdict for each face.

        Args:
            image: BGR of shape (height, width, 3).
            tracked: the faces in it.
            at_s: when it was captured, in seconds.
        """
        if not self.still_s:
            return [Life.ALIVE] * len(tracked)
        self._forget_old(at_s)
        return [self._judge(image, item, at_s) for item in tracked]

    def forget(self) -> None:
        """Forget all places and tracks."""
        self._places, self._began = [], {}

    def _judge(self, image: NDArray[np.uint8], item: TrackedFace, at_s: float) -> Life:
        place = self._place(image, item.face.box, at_s)
        place.seen_s = at_s
        if at_s - place.looked_s >= LOOK_S:
            place.look(_look(image, place.box), at_s, self.still_s)
        if place.is_still:
            return Life.STILL
        # Where a place can be judged its track says nothing: it may be that of somebody who has just passed there.
        alive = place.is_alive if place.is_judged else self._has_moved(item)
        return Life.ALIVE if alive else Life.UNKNOWN

    def _place(self, image: NDArray[np.uint8], box: Box, at_s: float) -> _Place:
        """Where this face is; a new place where it is nowhere yet."""
        near = max(self._places, key=lambda place: _overlap(place.box, box), default=None)
        if near is not None and _overlap(near.box, box) >= SAME_PLACE:
            return near
        place = _Place(box, at_s, at_s, at_s, deque([_look(image, box)], maxlen=LOOKS))
        self._places.append(place)
        return place

    def _has_moved(self, item: TrackedFace) -> bool:
        x, y = item.face.box.centre
        from_x, from_y = self._began.setdefault(item.track, (x, y))
        return float(np.hypot(x - from_x, y - from_y)) >= MOVED * item.face.box.width

    def _forget_old(self, at_s: float) -> None:
        self._places = [
            place
            for place in self._places[-KEPT_PLACES:]
            if at_s - place.seen_s <= (KEPT_S if place.photograph is None else KEPT_STILL_S)
        ]
        while len(self._began) > KEPT_PLACES:
            del self._began[next(iter(self._began))]


def _overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    width = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
    height = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (first.width * first.height + second.width * second.height - width * height)


def _look(image: NDArray[np.uint8], box: Box) -> _Look:
    """Describe the inner part of a box."""
    import cv2

    height, width = image.shape[:2]
    (x, y), half_width, half_height = box.centre, box.width * INNER / 2, box.height * INNER / 2
    left, right = (min(max(int(edge), 0), width) for edge in (x - half_width, x + half_width))
    top, bottom = (min(max(int(edge), 0), height) for edge in (y - half_height, y + half_height))
    part = image[top:bottom, left:right]
    if min(part.shape[:2]) < GRID:
        return _Look(np.ones(GRID * GRID, np.float32), np.ones(GRID * GRID, np.float32))
    if max(part.shape[:2]) > LARGEST_PX:
        scale = LARGEST_PX / max(part.shape[:2])
        part = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY).astype(np.float32)
    rows = grey.mean(axis=1, keepdims=True) + 8.0  # in the dark a grey level is not half of the light

    def averaged(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.resize(pixels, (GRID, GRID), interpolation=cv2.INTER_AREA), np.float32)

    level, white = averaged(np.repeat(rows, grey.shape[1], axis=1)), averaged((grey >= WHITE).astype(np.float32))
    variance = (noise(grey) ** 2 * GRID * GRID / grey.size + FLOOR**2) / np.square(level)
    variance += SWING**2 * (np.square(white) + np.square(white.mean(axis=1, keepdims=True)))
    return _Look(averaged(grey / rows).ravel(), variance.ravel())
