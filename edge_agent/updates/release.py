"""What a signed release of models says of itself, and which release each channel leads to (docs/updates.md)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

CHANNELS = "channels.json"
"""Name of the signed file that says which release each channel leads to."""
RELEASE = "release.json"
CARD = "card.md"
CLASSIFIER, DETECTOR = "classifier.tflite", "detector.tflite"
FILES = (RELEASE, CARD, CLASSIFIER, "classifier.json", DETECTOR, "detector.json")
"""A release is whole: both models, whichever of them is new."""

ReleaseName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Channel = Literal["stable", "canary"]
OWN = "the package's own models"
"""What is in use without a release."""


class Strict(BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Device:
    """What a release has to fit."""

    version: str
    """Of the agent."""
    runs: str
    """Runtime and processor, as :func:`edge_agent.host.runtime.runs_on` names them."""
    board: str
    """As the firmware says, e.g. ``Raspberry Pi 5 Model B Rev 1.0``; empty where it says nothing."""


class Release(Strict):
    """``release.json``."""

    name: ReleaseName
    made: AwareDatetime
    improves: Annotated[str, Field(min_length=1, max_length=500)]
    """For people: what is better than before."""
    agent: Annotated[str, Field(pattern=r"^\d+(\.\d+){0,3}$")]
    """Lowest version of the agent that can run it."""
    boards: tuple[str, ...] = ()
    """It is for boards whose name has one of these in it; empty: for any."""
    classifier_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """A site's calibration is for one classifier."""
    answers: dict[str, Annotated[int, Field(ge=0, le=255)]]
    """By runtime and processor: how many steps of 256 the answers to the reference crops may be off there."""
    least_agreement: Annotated[float, Field(ge=0.0, le=100.0)]
    """How far its shares must agree with the present model's, in percent (:mod:`edge_agent.updates.shadow`)."""

    def misfit(self, device: Device) -> str:
        """Why it cannot run there; empty where it can."""
        if _numbers(device.version) < _numbers(self.agent):
            return f"{self.name} needs agent {self.agent}, here is {device.version}: update the agent first"
        if self.boards and not any(board in device.board for board in self.boards):
            return f"{self.name} is for {' or '.join(self.boards)}, and this is {device.board or 'no known board'}"
        if device.runs not in self.answers:
            return f"{self.name} was made for {', '.join(sorted(self.answers))}, and this device runs {device.runs}"
        return ""


class Rollout(Strict):
    """Where a channel leads."""

    release: ReleaseName
    percent: Annotated[float, Field(ge=0.0, le=100.0)]
    """Of the channel's devices; the others keep what they have."""

    def includes(self, device_id: str) -> bool:
        """Whether this device is among them: by its id, so each release begins with other devices, and more percent
        only adds some."""
        digest = hashlib.sha256(f"{self.release}/{device_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 * 100 < self.percent


class Channels(Strict):
    """``channels.json``."""

    channels: dict[Channel, Rollout]

    def offer(self, channel: Channel) -> Rollout | None:
        """Where it leads; a canary follows the stable channel as long as nothing is ahead of it."""
        return self.channels.get(channel) or self.channels.get("stable")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
