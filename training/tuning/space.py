"""What a search may change in a recipe: read from a commented YAML file (``training/tuning/spaces/``)."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edge_agent.errors import ConfigError
from training.recipe import Recipe, faults_of, find_recipe, load_recipe

SPACES = Path(__file__).parent / "spaces"

Value = str | int | float | bool | None
"""What Optuna keeps of a parameter."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Parameter(_Strict):
    """The values that one key of a recipe may take: a range, or choices."""

    low: int | float | None = None
    high: int | float | None = None
    """Both ends are included; whole numbers if both ends are such."""
    log: bool = False
    """Half and double are equally likely."""
    step: int | float | None = Field(default=None, gt=0)
    choices: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """Any values; a mapping changes only the keys that it names."""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Parameter:
        low, high, spaced = self.low, self.high, self.log or self.step is not None
        if self.choices is not None:
            if low is not None or high is not None or spaced:
                raise ValueError("low, high, log and step are not for choices")
            if len(set(map(label, self.choices))) < len(self.choices):
                raise ValueError("a choice is there twice")
        elif low is None or high is None:
            raise ValueError("give low and high, or choices")
        elif low >= high:
            raise ValueError("low must be less than high")
        elif self.log and (self.step is not None or low <= 0):
            raise ValueError("log wants a low above 0, and no step")
        return self

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def value(self, kept: Value) -> Any:
        """The recipe's value for what Optuna keeps: choices are kept by their label."""
        return kept if self.choices is None else {label(choice): choice for choice in self.choices}[kept]

    def grid(self) -> list[Value] | None:
        """All its values as Optuna keeps them; None where a range has no step."""
        if self.choices is not None:
            return [label(choice) for choice in self.choices]
        if self.step is None or self.low is None or self.high is None:
            return None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        values = [self.low + i * self.step for i in range(count)]
        return [value if self.whole else round(float(value), 12) for value in values]


class Space(_Strict):
    """One search, complete."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    """Of the study, its folder and its best recipe."""
    recipe: str
    """What every trial begins with: a YAML file, or the name of one in training/recipes."""
    fixed: dict[str, Any] = {}
    """Keys that all trials change alike, often ``epochs``."""
    objective: Literal["ferplus_entropy", "ferplus_accuracy", "fer2013_entropy", "fer2013_accuracy"] = "ferplus_entropy"
    """Of the averaged weights on the selection half. Entropy is steadier than accuracy, and knows of doubt."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] = "median"
    """``median`` ends a trial that, after a quarter of the epochs, is worse than the median of those before it."""
    parameters: dict[str, Parameter] = Field(min_length=1)
    """By key of the recipe, with points: ``augmentation.shift``."""

    @model_validator(mode="after")
    def _has_a_grid(self) -> Space:
        if self.sampler == "grid" and (endless := [k for k, p in self.parameters.items() if p.grid() is None]):
            raise ValueError(f"a grid needs choices, or a step, of {', '.join(endless)}")
        return self

    @property
    def maximised(self) -> bool:
        """Whether more is better."""
        return self.objective.endswith("accuracy")

    def grid(self) -> dict[str, list[Value]]:
        """All values of every parameter, for the sampler ``grid``."""
        return {key: parameter.grid() or [] for key, parameter in self.parameters.items()}


def label(choice: Any) -> Value:
    """How Optuna keeps a choice and pictures show it: lists and mappings as JSON."""
    return choice if choice is None or isinstance(choice, str | int | float | bool) else json.dumps(choice)


def readable(kept: Value) -> str:
    """A parameter's value for people."""
    return f"{kept:.4g}" if isinstance(kept, float) else str(kept)


def find_space(name: str) -> Path:
    """The file of a space, given by its path or by its name in ``training/tuning/spaces``."""
    path = Path(name)
    return path if path.suffix in {".yaml", ".yml"} else SPACES / f"{name}.yaml"


def load_space(path: Path) -> tuple[Space, Recipe]:
    """A space, and the recipe that its trials begin with, fixed keys included.

    Every end of a range and every choice is tried in the recipe. Raises ConfigError, naming the file and every fault.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the space: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {error}".replace("\n", " ")) from error
    try:
        space = Space.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {faults_of(error)}") from error
    try:
        recipe = changed(load_recipe(find_recipe(space.recipe)), space.fixed | {"name": space.name})
    except ValidationError as error:
        raise ConfigError(f"{path}: fixed: {faults_of(error)}") from error
    faults = [fault for key, parameter in space.parameters.items() for fault in _faults(recipe, key, parameter)]
    if faults:
        raise ConfigError(f"{path}: {'; '.join(faults)}")
    return space, recipe


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with other values; keys have points. Raises ValidationError where that is no recipe."""
    raw = recipe.model_dump(mode="json")
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = raw
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}  # nothing is there yet, or it is no mapping, which pydantic says better
            place = place[parent]
        there = place.get(last)
        place[last] = there | value if isinstance(there, dict) and isinstance(value, dict) else copy.deepcopy(value)
    return Recipe.model_validate(raw)


def _faults(recipe: Recipe, key: str, parameter: Parameter) -> list[str]:
    tried = (parameter.low, parameter.high) if parameter.choices is None else parameter.choices
    faults = []
    for value in tried:
        try:
            changed(recipe, {key: value})
        except ValidationError as error:
            faults.append(f"parameters: {faults_of(error)}")
    return faults
