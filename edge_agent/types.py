"""The values that travel from one stage of the pipeline to the next.

Array sizes are (height, width); image sizes and boxes are (x, y, width, height) in pixels with the
origin at the top left. Times called ``*_monotonic_s`` are seconds of :func:`time.monotonic`.

Pictures end at the classifier: only :class:`Frame` carries pixels, and nothing behind
:class:`EmotionScores` does (``tests/test_types.py`` proves it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Observe = Callable[[str, float], None]
"""Called with the name of a stage and the seconds that one pass through it took."""


class CameraState(str, Enum):
    """What the camera is doing."""

    STARTING = "starting"
    RUNNING = "running"
    STALLED = "stalled"
    GONE = "gone"
    ENDED = "ended"


class Trouble(str, Enum):
    """What is wrong with most faces before a camera, so that somebody can repair it."""

    UPSIDE_DOWN = "upside_down"
    TURNED_LEFT = "turned_left"
    TURNED_RIGHT = "turned_right"
    TILTED = "tilted"
    DARK = "dark"
    WASHED_OUT = "washed_out"
    NOISY = "noisy"
    BLURRED = "blurred"

    @property
    def is_tilt(self) -> bool:
        """Whether the camera hangs wrong."""
        return self in (Trouble.UPSIDE_DOWN, Trouble.TURNED_LEFT, Trouble.TURNED_RIGHT, Trouble.TILTED)

    @property
    def rotates_by_deg(self) -> int | None:
        """Degrees to add to ``camera.rotate_deg``, modulo 360; None if that does not help."""
        return _ROTATIONS.get(self)


_ROTATIONS = {Trouble.UPSIDE_DOWN: 180, Trouble.TURNED_LEFT: 90, Trouble.TURNED_RIGHT: 270}


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a camera."""

    image: NDArray[np.uint8]
    """BGR pixels, shape (height, width, 3), 0 to 255."""
    captured_monotonic_s: float
    """When the camera delivered it."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels; it may reach beyond the picture's edges."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle."""
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Face:
    """One detected face."""

    box: Box
    score: float
    """The detector's confidence, 0 to 1."""
    landmarks: tuple[tuple[float, float], ...] | None = None
    """Five (x, y) points in pixels where the detector gives them: right eye, left eye, nose tip,
    right and left corner of the mouth, as seen in the person (their right is on the picture's left)."""

    @property
    def roll_deg(self) -> float | None:
        """How far the face is turned in the picture, -180 to 180, clockwise positive; None without landmarks.

        The direction from the person's right to their left, of eyes and mouth together.
        """
        if self.landmarks is None:
            return None
        (right_x, right_y), (left_x, left_y), _, (mouth_right_x, mouth_right_y), (mouth_left_x, mouth_left_y) = (
            self.landmarks
        )
        across_x, across_y = left_x - right_x + mouth_left_x - mouth_right_x, left_y - right_y
        return math.degrees(math.atan2(across_y + mouth_left_y - mouth_right_y, across_x))


@dataclass(frozen=True, slots=True)
class Framing:
    """How a detector's box becomes the square that is cut out."""

    scale: float
    """Side of the square, as a multiple of the box's longer side."""
    shift_y: float
    """How far the square's centre is below the box's, as a share of the square's side; negative is up."""


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """A face joined to a track, one person's for as long as it lives; the id never leaves memory."""

    face: Face
    track: int
    """Unique within this process."""
    lineage: int
    """Id of the first of the tracks that may all have been this person, who was out of sight for a few seconds in
    between. The rolling estimate takes each once; longer absences still begin a new one."""


@dataclass(frozen=True, slots=True)
class EmotionScores:
    """The classifier's answers to ``n`` face crops."""

    labels: tuple[str, ...]
    """Emotion names in the order of the columns, as the model's JSON gives them."""
    probabilities: NDArray[np.float32]
    """Calibrated posteriors, shape (n, len(labels)), each row sums to 1."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of people per emotion, in percent."""

    percentages: Mapping[str, float]
    """Best estimate: one decimal, sums to 100.0."""
    percentages_raw: Mapping[str, float]
    """Plain average of the people's scores: one decimal, sums to 100.0."""
    intervals: Mapping[str, tuple[float, float]]
    """90 % interval of each share in percent, (low, high), 0 to 100."""
    method: str
    """How ``percentages`` was estimated, as docs/mqtt.md names it."""
    people: int
    """People that the shares are made from."""
    percentages_even: Mapping[str, float] | None = None
    """The plain average if all emotions were equally common: one decimal, sums to 100.0; None in windows of old."""
    familiar: float | None = None
    """How likely this camera's faces are answered as the reference faces are, 0 to 1; None where nothing is known."""
    quality: float | None = None
    """Of a window: mean weight of all faces found in it, 0 (none could be read) to 1; None for the rolling shares."""


@dataclass(frozen=True, slots=True)
class RollingShares:
    """The estimate over the last ``span_s`` seconds."""

    span_s: float
    shares: Shares | None
    """None until at least ``privacy.min_people`` people have entered it."""


@dataclass(frozen=True, slots=True)
class WindowReport:
    """Everything that is published about one closed window; nothing else is stored or sent."""

    window_start: datetime
    """Start, UTC, from the wall clock, to the millisecond."""
    start_monotonic_s: float
    """The same moment on the monotonic clock, for re-stamping once the clock is synchronised."""
    window_s: float
    """Length in seconds."""
    frames: int
    """Frames that were read."""
    faces: int | None
    """Face detections that counted; None when suppressed or without frames."""
    people: int | None
    """People seen; None when suppressed or without frames."""
    suppressed: bool
    """True when somebody, but fewer than ``privacy.min_people`` people, were seen."""
    shares: Shares | None
    """None when nobody was seen or the window is suppressed."""
    gated: Mapping[str, int] | None
    """Faces left out by reason (see :mod:`edge_agent.vision.quality`); None when there are no shares."""
    rolling: RollingShares | None
    """The rolling estimate, where ``window.rolling_s`` is set."""


@dataclass(frozen=True, slots=True)
class ModelsState:
    """Which models are in use, and how far the next ones are."""

    name: str
    """Of the classifier."""
    release: str | None
    """None: the package's own models, or files that the configuration names."""
    channel: str
    latest: str | None = None
    """Where the channel led when the updater last looked; a release that was refused here is not told."""
    improves: str = ""
    """What that release says of itself."""
    trying: str | None = None
    """A release that is being tried beside the one in use."""
    held: str = ""
    """Why ``latest`` is not taken."""
    agreement: float | None = None
    """Percent, of the last try that was judged: over at least 100 people."""

    @property
    def update_offered(self) -> bool:
        """Whether there is a release to take."""
        return self.latest is not None and self.latest != self.release


@dataclass(frozen=True, slots=True)
class StoredWindow:
    """A window in the store, with all that MQTT, the page and an export know about it."""

    session: str
    """The run of the agent that measured it."""
    seq: int
    """Number of the window in its session: 1, 2, 3 ..."""
    report: WindowReport
    clock_synced: bool
    """Whether ``report.window_start`` can be trusted: the clock followed a reference when it was stamped."""
    model: str
    """Which model read the faces, as docs/mqtt.md names it."""
    boot_id: str
    """The boot of the machine that ``report.start_monotonic_s`` belongs to."""
    place: int = field(default=0, compare=False)
    """Where it is in the order in which the store took windows (:mod:`edge_agent.store.ledger`)."""
