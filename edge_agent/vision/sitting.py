"""People who agreed stand before the camera, one after the other, and show what they are asked for (``/calibrate``).

Kept in memory until they are learnt from or forgotten: seven numbers and a label a face, and no picture.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import InputError
from edge_agent.shares.site import LEAST_PEOPLE, LabelledFaces, Site, fit_site
from edge_agent.vision.classifier import Classifier
from edge_agent.vision.site_file import write_site

ASK_S = 5.0
"""How long each emotion is asked for."""
READY_S = 1.5
"""Of that, how long a face may take to change; nothing is taken meanwhile."""
APART_S = 0.7
"""Between two faces that are taken: frames that follow each other say the same."""
LEAST_GAIN = 0.05
"""How much smaller the cross-validated error must be: with labels that mean nothing it may fall by chance."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sitting is."""

    asked: str | None
    """The emotion that somebody is asked for now."""
    people: int
    """Who was asked for all emotions."""
    faces: int

    @property
    def is_enough(self) -> bool:
        """Whether it may be learnt from."""
        return self.people >= LEAST_PEOPLE


class Sitting:
    """The sitting of one agent; its loop shows faces, and the page asks. Safe for both threads."""

    def __init__(self, labels: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._labels, self._clock, self._lock = labels, clock, threading.Lock()
        self._begun_s: float | None = None
        self._last_s = 0.0
        self._taken: list[tuple[NDArray[np.float64], int]] = []
        self._people: list[list[tuple[NDArray[np.float64], int]]] = []

    def begin(self) -> None:
        """The next person is in front of the camera. Somebody who is being asked begins again."""
        with self._lock:
            self._settle()
            self._begun_s, self._last_s, self._taken = self._clock(), -APART_S, []

    def clear(self) -> None:
        """Forget everybody."""
        with self._lock:
            self._begun_s, self._taken, self._people = None, [], []

    @property
    def wants(self) -> bool:
        """Whether a face should be shown to :meth:`take` now."""
        with self._lock:
            return self._moment() is not None

    def take(self, logits: NDArray[np.float32]) -> None:
        """Calibrated logits, shape (labels,), of the only face in view; left out if none is wanted at this moment."""
        with self._lock:
            moment = self._moment()
            if moment is not None:
                self._taken.append((logits.astype(np.float64), moment))
                self._last_s = self._clock() - (self._begun_s or 0.0)

    @property
    def progress(self) -> Progress:
        """How far it is."""
        with self._lock:
            self._settle()
            spent_s = None if self._begun_s is None else self._clock() - self._begun_s
            asked = None if spent_s is None else self._labels[int(spent_s / ASK_S)]
            return Progress(asked, len(self._people), sum(map(len, self._people)))

    def faces(self) -> LabelledFaces:
        """Of everybody who was asked for all emotions; raises InputError below LEAST_PEOPLE."""
        with self._lock:
            self._settle()
            rows = [(logits, label, number) for number, taken in enumerate(self._people) for logits, label in taken]
        if len(self._people) < LEAST_PEOPLE:
            raise InputError(f"no calibration: {len(self._people)} people, but at least {LEAST_PEOPLE} are needed")
        logits, labels, people = zip(*rows, strict=True)
        return LabelledFaces(np.stack(logits), np.array(labels), np.array(people))

    def _settle(self) -> None:
        """Whoever was asked for everything and was seen counts as a person."""
        if self._begun_s is not None and self._clock() - self._begun_s >= ASK_S * len(self._labels):
            self._begun_s = None
            if self._taken:
                self._people.append(self._taken)
            self._taken = []

    def _moment(self) -> int | None:
        """Index of the emotion that a face taken now would show; None where none is to be taken."""
        if self._begun_s is None:
            return None
        spent_s = self._clock() - self._begun_s
        number, within_s = int(spent_s / ASK_S), spent_s % ASK_S
        ready = number < len(self._labels) and within_s >= READY_S and spent_s - self._last_s >= APART_S
        return number if ready else None


class Calibrator:
    """Learns a site's calibration from a sitting, and writes it."""

    def __init__(self, classifier: Classifier, path: Path) -> None:
        self._classifier, self._path = classifier, path
        self.sitting = Sitting(classifier.labels)

    def finish(self) -> Site:
        """Learn, write and forget the faces; raises InputError where there is nothing to be gained, and keeps them."""
        site = learn(self.sitting.faces(), self._classifier)
        write_site(self._path, site)
        self.sitting.clear()
        return site


def learn(faces: LabelledFaces, classifier: Classifier) -> Site:
    """A calibration that makes the figures better; raises InputError where there is none to be had."""
    estimator = classifier.head.share_estimator(classifier.labels)
    try:
        site = fit_site(
            faces, estimator, classifier.model.info.sha256, head=classifier.head_name, seed=secrets.randbits(32)
        )
    except ValueError as error:
        raise InputError(f"no calibration: {error}") from None
    if site.error_after > (1.0 - LEAST_GAIN) * site.error_before:
        raise InputError(
            f"no calibration: it would not make the figures better ({site.error_before} points off without, "
            f"{site.error_after} with it); use more faces, and check that each shows what it is asked for"
        )
    return site
