"""What the answers of the devices' models mean, read from the models' .json files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import edge_agent
from edge_agent.errors import ModelError
from edge_agent.shares.estimate import ShareEstimator
from edge_agent.shares.reference import ReferenceFaces

SHIPPED = Path(edge_agent.__file__).parent / "models"


def load_estimators(more: Iterable[Path] = ()) -> dict[str, ShareEstimator]:
    """By the ``model`` that windows name. Raises ModelError: a file is missing or not a model's."""
    estimators: dict[str, ShareEstimator] = {}
    for path in (*sorted(SHIPPED.glob("*.json")), *more):
        try:
            info = json.loads(path.read_text(encoding="utf-8"))
            if "heads" in info:
                estimators |= _estimators(info)
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is no model's .json: {error}") from error
    return estimators


def _estimators(info: Mapping[str, Any]) -> dict[str, ShareEstimator]:
    name = f"{info['name']}@{info['sha256'][:12]}"
    found = {}
    for head, facts in info["heads"].items():
        faces = facts.get("reference")
        reference = None if faces is None else ReferenceFaces.model_validate(faces).decode()
        estimator = ShareEstimator(info["labels"], facts["prior"], reference)
        found[name if head == info["default_head"] else f"{name}+{head}"] = estimator
    return found
