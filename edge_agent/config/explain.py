"""Turn pydantic's report into lines that name file, key path, value and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edge_agent.host.redaction import redact

MAX_SHOWN = 80
SECRET_WORDS = ("password", "secret", "token")


def explain(
    error: ValidationError,
    values: Mapping[str, Any],
    origin: str,
    sources: Mapping[tuple[str, ...], str],
    model: type[BaseModel],
) -> str:
    """All faults of ``error``, one line each.

    Args:
        error: what pydantic found.
        values: the tree that was validated.
        origin: the file's name.
        sources: keys that came from an environment variable, and its name.
        model: the class that was validated against, to suggest keys from.
    """
    faults: dict[tuple[str, ...], list[str]] = {}
    for detail in error.errors(include_url=False):
        keys = _real_keys(tuple(str(part) for part in detail["loc"]), values, detail)
        faults.setdefault(keys, []).append(_fault(detail, keys, values, model))
    return "\n".join(
        f"{f'environment variable {sources[keys]}' if keys in sources else origin}: "
        f"{'.'.join(keys) or 'top level'}: {', or '.join(texts)}"
        for keys, texts in faults.items()
    )


def _real_keys(keys: tuple[str, ...], values: Any, detail: ErrorDetails) -> tuple[str, ...]:
    """Without the name of a union's branch ("int"), which pydantic adds behind the key that stands in the file."""
    if detail["type"] in ("extra_forbidden", "invalid_key", "missing"):
        return keys
    real: list[str] = []
    for key in keys:
        if isinstance(values, Mapping):
            values = values.get(key)
        elif isinstance(values, (list, tuple)) and key.isdigit() and int(key) < len(values):
            values = values[int(key)]
        else:
            break
        real.append(key)
    return tuple(real)


def _fault(detail: ErrorDetails, keys: tuple[str, ...], values: Mapping[str, Any], model: type[BaseModel]) -> str:
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        return _unknown_key(keys, model)
    what = detail["msg"].removeprefix("Value error, ")
    what = what[:1].lower() + what[1:]
    if any(word in keys[-1].lower() for word in SECRET_WORDS if keys):
        return what
    return f"{_shown(_value_at(values, keys))} is wrong: {what}"


def _unknown_key(keys: tuple[str, ...], model: type[BaseModel]) -> str:
    known = _keys_at(model, keys[:-1])
    if "password" in keys[-1].lower():
        return (
            "a password never stands in the configuration: put it in a file named by mqtt.password_file, "
            "in $CREDENTIALS_DIRECTORY/mqtt_password, or in COUNTENANCE_MQTT_PASSWORD"
        )
    close = difflib.get_close_matches(keys[-1], known, n=1, cutoff=0.6)
    hint = f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(sorted(known))}"
    return f"unknown key; {hint}"


def _keys_at(model: type[BaseModel], keys: tuple[str, ...]) -> list[str]:
    for key in keys:
        annotation = model.model_fields[key].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _value_at(values: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        if isinstance(values, Mapping) and key in values:
            values = values[key]
        elif isinstance(values, (list, tuple)) and key.isdigit() and int(key) < len(values):
            values = values[int(key)]
    return values


def _shown(value: Any) -> str:
    text = redact(repr(value))  # before it is cut: half a camera's address does not look like one any more
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
