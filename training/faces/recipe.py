"""The recipe of a detector's run: every hyper-parameter, read from a commented YAML file (``recipes/``)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from edge_agent.errors import ConfigError

RECIPES = Path(__file__).parent / "recipes"
Share = Field(ge=0, le=1)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(_Strict):
    """A plain pyramid of 3x3 convolutions."""

    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]
    """Channels at a quarter, an eighth, a sixteenth and a thirty-second of the picture's sides."""
    blocks: tuple[int, int, int]
    """Convolutions of the residual block at an eighth, a sixteenth and a thirty-second; 0 is none."""
    stem_side: int = Field(default=6, ge=4, le=8)
    """Side of the first convolution, whose stride is 4."""


class Composition(_Strict):
    """How training pictures are put together from scenes."""

    side: int = Field(multiple_of=32)
    parts: tuple[float, float, float]
    """How often a picture shows one, two and four scenes."""
    aimed: float = Share
    """How often the scale is chosen by the size that one of the faces shall have; else the scene fills its part."""
    face_px: tuple[float, float]
    """Least and largest size of the face that the scale is chosen by."""
    largest_scale: float = Field(gt=0)
    """A scene is never enlarged more than this."""
    turned: float = Share
    """How often a scene is turned by any angle up to ``turn_degrees``; else by a small one."""
    turn_degrees: float = Field(ge=0, le=45)
    pasted: float = Share
    """How often faces of other scenes are pasted in."""
    masked: float = Share
    """How often a face with known landmarks gets a mask drawn over mouth and nose."""
    sunglasses: float = Share


class Photometry(_Strict):
    """How often a training picture undergoes each change."""

    tone: float = Share
    dark: float = Share
    shaded: float = Share
    noisy: float = Share
    noise_sigma: float = Field(ge=0, le=64)
    blurred: float = Share
    shaken: float = Share
    compressed: float = Share
    jpeg_quality: tuple[int, int]


class Assignment(_Strict):
    """Which cells answer for a face."""

    sizes: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    """Least and largest face, in pixels, of each grid; a face between two grids belongs to both."""
    least_px: float = Field(ge=0)
    """Smaller faces are neither rewarded nor punished."""
    radius_strides: float = Field(gt=0)
    radius_share: float = Field(ge=0, le=0.5)
    """Cells answer whose middle is nearer to the face's than the larger of so many strides and that share of it."""


class Recipe(_Strict):
    """One run, complete."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    seed: int = Field(default=1, ge=0)
    network: Network
    composition: Composition
    photometry: Photometry
    assignment: Assignment
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    epochs: int = Field(gt=0)
    pictures: int = Field(gt=0)
    """Pictures of an epoch."""
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    cooldown: float = Field(gt=0, le=1)
    """Last share of the epochs, over which the rate falls to 0; before it is constant, so a run may be made longer."""
    weight_decay: float = Field(ge=0)
    ema_decay: float = Field(ge=0, lt=1)
    focus: float = Field(ge=0)
    """Exponent of the focal loss."""
    box_weight: float = Field(ge=0)
    points_weight: float = Field(ge=0)
    judge_every: int = Field(gt=0)
    """Epochs between two judgements on the val split."""


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe; raises ConfigError."""
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
