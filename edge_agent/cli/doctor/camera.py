"""Does the camera deliver, how fast, and is there enough light?"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

from edge_agent.cameras import Image, open_camera
from edge_agent.cli.doctor import faces, service
from edge_agent.cli.doctor.check import Check, failed, ok, warning
from edge_agent.config import CameraConfig, Config
from edge_agent.errors import CameraError
from edge_agent.host.redaction import redact
from edge_agent.types import CameraState

WARM_UP_S = 1.0
"""Not counted: automatic exposure settles, and some drivers deliver their first frames in a burst."""
MEASURE_S = 3.0
LONGEST_S = 15.0
MIN_FRAMES = 5
SLOW = 0.7
"""Below this fraction of ``camera.fps`` there is a warning."""
DARK, BRIGHT = 40.0, 215.0
"""Mean grey levels, 0 to 255, outside of which faces lose their shading."""
FLAT = 4.0
"""Standard deviation of grey levels below which there is no picture: a lens cap, a cable."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a few seconds of reading gave."""

    frames_per_s: float | None
    """None if there were too few frames."""
    last: Image
    """The newest picture, turned and cut as the agent sees it."""


def examine(config: Config) -> Iterable[Check]:
    """Read the camera for a few seconds: does it deliver, at which rate, with how much light."""
    shown = config.camera.backend
    try:
        sample = _look(config.camera)
    except CameraError as error:
        if not service.is_running():
            raise
        yield _as_the_service_says(shown, error)
        return
    if sample is None:
        yield failed("camera", f"{shown}: it opened but gave no frame", "look at camera.source")
        return
    height, width = sample.last.shape[:2]
    yield ok("camera", f"{shown} delivers {width}x{height} pixels")
    yield _rate(config.camera, sample)
    yield exposure(sample.last)
    yield from faces.examine(sample.last, config)


def _as_the_service_says(shown: str, error: CameraError) -> Check:
    """The service has the camera, or waits for it: it knows better than whoever finds the camera busy."""
    said = redact(service.status())
    detail = f"{shown}: {service.UNIT} says: {said}"
    if said.startswith(f"camera {CameraState.RUNNING.value}"):
        return ok("camera", detail)
    if said.startswith(f"camera {CameraState.STARTING.value}"):
        return warning("camera", detail, "run the doctor again in half a minute")
    return failed("camera", detail if said else str(error), str(error).partition("; ")[2] or "see docs/device.md")


def _look(config: CameraConfig) -> Sample | None:
    """Read for :data:`MEASURE_S` after a warm-up; None when not a single frame came."""
    with closing(open_camera(config)) as camera:
        last, times, opened_s = camera.read(), list[float](), time.monotonic()
        while last is not None and not _enough(times, opened_s):
            picture = camera.read()
            if picture is None:
                break
            last = picture
            if time.monotonic() - opened_s >= WARM_UP_S:
                times.append(time.monotonic())
    if last is None:
        return None
    return Sample((len(times) - 1) / (times[-1] - times[0]) if len(times) >= MIN_FRAMES else None, last.image)


def _enough(times: list[float], opened_s: float) -> bool:
    looked_s = time.monotonic() - opened_s - WARM_UP_S
    return looked_s >= LONGEST_S or (looked_s >= MEASURE_S and len(times) >= MIN_FRAMES)


def _rate(config: CameraConfig, sample: Sample) -> Check:
    if sample.frames_per_s is None:
        return warning("frame rate", f"fewer than {MIN_FRAMES} frames came, too few to tell", "a longer film, or loop")
    if not config.fps:
        return ok("frame rate", f"{sample.frames_per_s:.1f} frames a second, none asked for")
    detail = f"{sample.frames_per_s:.1f} frames a second of the {config.fps:g} that camera.fps asks for"
    if sample.frames_per_s >= SLOW * config.fps:
        return ok("frame rate", detail)
    return warning(
        "frame rate", detail, "more light (cameras slow down in the dark), a smaller picture, or another port"
    )


def exposure(image: Image) -> Check:
    """Is there enough light on a BGR picture of shape (height, width, 3)?"""
    mean, spread = float(image.mean()), float(image.std())
    detail = f"brightness {mean:.0f} of 255, contrast {spread:.0f}"
    if spread < FLAT:
        return failed(
            "exposure", f"{detail}: an empty picture", "take the cap off the lens, look at cable and privacy slider"
        )
    if mean < DARK:
        return warning("exposure", f"{detail}: too dark to read faces", "light in front of the people, not behind them")
    if mean > BRIGHT:
        return warning("exposure", f"{detail}: washed out", "turn the camera away from windows and lamps")
    return ok("exposure", detail)
