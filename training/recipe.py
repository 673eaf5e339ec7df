"""The recipe of a run: every hyper-parameter, read from a commented YAML file (``training/recipes/``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from edge_agent.errors import ConfigError
from training.data import SIDE, SPLIT_SEED

RECIPES = Path(__file__).parent / "recipes"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(_Strict):
    """A plain residual network of 3x3 convolutions."""

    widths: tuple[PositiveInt, ...] = Field(min_length=1)
    """Channels of each stage; every stage after the first halves the resolution."""
    blocks: tuple[PositiveInt, ...]
    """Residual blocks of each stage."""
    stem_stride: int = Field(default=2, ge=1, le=2)
    limit: float | None = Field(default=None, gt=0, le=6)
    """Limit of ReLU6 and, on both sides, of residual branches. None: 6, and branches are cut only by int8."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of pooled features dropped before the heads."""

    @model_validator(mode="after")
    def _stages_are_complete(self) -> Network:
        if len(self.widths) != len(self.blocks):
            raise ValueError(f"{len(self.widths)} widths and {len(self.blocks)} blocks; each stage has one of both")
        return self

    def unlimited(self) -> Network:
        """The same without its limit, which int8 keeps by its ranges."""
        return self.model_copy(update={"limit": None})


class Backbone(_Strict):
    """A known network below the two heads, begun with weights that others trained (transfer learning)."""

    backbone: Literal[
        "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "vgg16", "resnet50", "mobilenetv2"
    ]
    weights: str | None = "imagenet"
    """``imagenet``; or the path of a file: .pth for EfficientNet-Lite, else .h5 as keras.applications saves a network
    without its top; None begins at random."""
    side: int = Field(default=2 * SIDE, ge=SIDE, le=6 * SIDE, multiple_of=SIDE)
    """To which the face is enlarged, in the graph."""
    frozen: bool = False
    """Only the heads learn."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of pooled features dropped before the heads."""

    @property
    def limit(self) -> None:
        """It has none."""

    def unlimited(self) -> Backbone:
        """Itself: what a plain network is without its limit."""
        return self


def _tag(raw: Any) -> str:
    known = "backbone" in raw if isinstance(raw, dict) else isinstance(raw, Backbone)
    return "a backbone" if known else "a plain network"


AnyNetwork = Annotated[
    Annotated[Network, Tag("a plain network")] | Annotated[Backbone, Tag("a backbone")], Discriminator(_tag)
]
NETWORK: TypeAdapter[Network | Backbone] = TypeAdapter(AnyNetwork)
_TAGS = ("a plain network", "a backbone")


class FrozenStage(_Strict):
    """What a run on a backbone does first: only the heads learn, or their random start would spoil the features."""

    epochs: int = Field(gt=0)
    learning_rate: float = Field(gt=0)


class Camera(_Strict):
    """What cameras and people do to a face before the network sees it; by default nothing."""

    probability: float = Field(default=0, ge=0, le=1)
    """How many of the images undergo any of this; the others stay as clean as the data."""
    glasses: float = Field(default=0, ge=0, le=1)
    """How many of those get sunglasses or a bar at eye height; likewise below."""
    mask: float = Field(default=0, ge=0, le=1)
    """Something over mouth and nose, or over the mouth alone."""
    gain: float = Field(default=0, ge=0, le=1)
    """Over- and underexposed: multiplied by gain_range, then clipped."""
    gain_range: tuple[float, float] = (0.2, 2.6)
    side_light: float = Field(default=0, ge=0, le=1)
    """Lit from one side, up to three times as bright there as on the other."""
    blur: float = Field(default=0, ge=0, le=1)
    """Out of focus or moving: Gaussian of 0.4 to 1.6 pixels, or a streak of 3 to 7."""
    small: float = Field(default=0, ge=0, le=1)
    """Seen with small_side pixels, then enlarged."""
    small_side: tuple[int, int] = (12, 40)
    noise: float = Field(default=0, ge=0, le=1)
    """Sensor noise, of the small image where there is one, and half the time before a shrinking that blurs it."""
    noise_sigma: tuple[float, float] = (2, 24)
    """In grey levels."""
    jpeg: float = Field(default=0, ge=0, le=1)
    jpeg_quality: tuple[int, int] = (10, 60)


class Augmentation(_Strict):
    """Ranges of the random changes of each training image, new in every epoch."""

    rotation_degrees: float = Field(ge=0, le=45)
    shift: float = Field(ge=0, le=0.5)
    """Largest shift along each axis, as a share of the side."""
    zoom: tuple[float, float]
    """Smallest and largest share of the side that is seen: below 1 the face grows."""
    aspect: float = Field(ge=0, le=0.5)
    """Largest relative stretch of one axis against the other."""
    brightness: float = Field(ge=0, le=128)
    """Largest grey level added or taken away."""
    contrast: tuple[float, float]
    soften_probability: float = Field(ge=0, le=1)
    """How often an image is shrunk and enlarged again, as a small face in a camera picture looks."""
    erase_probability: float = Field(ge=0, le=1)
    erase_area: tuple[float, float]
    """Smallest and largest erased share of the area."""
    camera: Camera = Camera()


class Distillation(_Strict):
    """Share of the loss that comes from teachers, if ``fit --teacher`` names any (Hinton et al. 2015)."""

    weight: float = Field(default=0.7, ge=0, le=1)
    temperature: float = Field(default=3.0, gt=0)


class Recipe(_Strict):
    """One run, complete: the same recipe on the same data and machine gives the same model."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    seed: int = Field(default=1, ge=0)
    network: AnyNetwork
    frozen_stage: FrozenStage | None = None
    """Without ``fit --from``, and only with a backbone."""
    augmentation: Augmentation
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """Precision of the activations; the saved model is float32 in any case."""
    epochs: int = Field(gt=0)
    warmup: float = Field(ge=0, lt=1)
    """First share of the epochs, over which the learning rate rises; after it falls to 0 along half a cosine."""
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    ema_decay: float = Field(ge=0, lt=1)
    label_smoothing: float = Field(ge=0, le=0.2)
    mixup_alpha: float = Field(ge=0)
    mixup_off: float = Field(ge=0, le=1)
    """Last share of the epochs trained without mixup."""
    head_weights: dict[str, float]
    distillation: Distillation = Distillation()
    photos_repeated: int = Field(default=1, ge=1)
    """How often an epoch shows each image of ``fit --photos``."""

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_run(cls, raw: Any) -> Any:
        """Older recipes name the seed of the split, which had only one right value."""
        if isinstance(raw, dict) and raw.get("split_seed") == SPLIT_SEED:
            return {key: value for key, value in raw.items() if key != "split_seed"}
        return raw

    @model_validator(mode="after")
    def _only_a_backbone_is_frozen(self) -> Recipe:
        if self.frozen_stage is not None and not isinstance(self.network, Backbone):
            raise ValueError("frozen_stage is for a network with a backbone; this one has none")
        return self

    def of_frozen_stage(self) -> Recipe:
        """The recipe of the run that trains the heads before this one."""
        assert self.frozen_stage is not None
        assert isinstance(self.network, Backbone)
        return self.model_copy(
            update={
                "network": self.network.model_copy(update={"frozen": True}),
                "frozen_stage": None,
                "epochs": self.frozen_stage.epochs,
                "learning_rate": self.frozen_stage.learning_rate,
            }
        )


def find_recipe(name: str) -> Path:
    """The file of a recipe, given by its path or by its name in ``training/recipes``."""
    path = Path(name)
    return path if path.suffix in {".yaml", ".yml"} else RECIPES / f"{name}.yaml"


def load_recipe(path: Path, **changes: object) -> Recipe:
    """Read and validate a recipe; ``changes`` replace top-level keys.

    Raises ConfigError, naming the file and every fault.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the recipe: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}".replace("\n", " ")) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys to values")
    try:
        return Recipe.model_validate(raw | changes)
    except ValidationError as error:
        raise ConfigError(f"{path}: {faults_of(error)}") from error


def faults_of(error: ValidationError) -> str:
    """Every fault in one line, by key."""
    return "; ".join(f"{_place(e['loc'])}: {e['msg']} (got {e['input']!r})" for e in error.errors())


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if part not in _TAGS)
