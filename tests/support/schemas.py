"""The shipped JSON Schemas, for tests that look at payloads."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import jsonschema


def schema(name: str) -> dict[str, Any]:
    return json.loads((resources.files("edge_agent") / "schemas" / f"{name}.json").read_text(encoding="utf-8"))


def validate(name: str, payload: Any) -> None:
    """Raise jsonschema.ValidationError if ``payload`` is not as the schema says."""
    jsonschema.Draft202012Validator(schema(name)).validate(payload)


def undocumented(name: str, payload: dict[str, Any]) -> set[str]:
    """Fields that the payload has and the schema does not name."""
    return set(payload) - set(schema(name)["properties"])
