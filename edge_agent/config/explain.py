"""Turns pydantic's report into lines with the file, the key path, the value and what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edge_agent.host.redaction import redact

MAX_SHOWN = 80
MOST_READ = 2000
"""Characters of a value that are searched for a password, which takes time; a longer one is not shown."""
MOST_FAULTS = 20
"""More of them in one file mean that it is no configuration; nobody reads thousands of lines."""
SECRET_WORDS = ("password", "secret", "token")


def explain(
    error: ValidationError,
    values: Mapping[str, Any],
    origin: str,
    *,
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
    details = error.errors(include_url=False)
    for detail in details[:MOST_FAULTS]:
        keys = _real_keys(tuple(str(part) for part in detail["loc"]), values, detail)
        faults.setdefault(keys, []).append(_fault(detail, keys, values, model=model))
    lines = [
        f"{f'environment variable {sources[keys]}' if keys in sources else origin}: "
        f"{_shown_keys(keys)}: {', or '.join(texts)}"
        for keys, texts in faults.items()
    ]
    if len(details) > MOST_FAULTS:
        lines.append(f"{origin}: and {len(details) - MOST_FAULTS} more faults")
    return "\n".join(lines)


def _shown_keys(keys: tuple[str, ...]) -> str:
    return _cut(".".join(keys)) or "top level"


def _real_keys(keys: tuple[str, ...], values: Any, detail: ErrorDetails) -> tuple[str, ...]:
    """Without the name of a union's branch ("int"), which pydantic adds after the key that is in the file."""
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


def _fault(detail: ErrorDetails, keys: tuple[str, ...], values: Mapping[str, Any], *, model: type[BaseModel]) -> str:
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        return _unknown_key(keys, model)
    value = _value_at(values, keys)
    what = _in_plain_words(detail, keys, value, model=model)
    if any(word in keys[-1].lower() for word in SECRET_WORDS if keys):
        return what
    return what if value is None else f"{_shown(value)} is wrong: {what}"


def _in_plain_words(detail: ErrorDetails, keys: tuple[str, ...], value: Any, *, model: type[BaseModel]) -> str:
    kind, key = detail["type"], keys[-1] if keys else ""
    if value is None and kind.endswith("_type"):
        return f"is empty: give it a value, or take '{key}:' out; put quotes around a text that begins with '#'"
    if kind in ("model_type", "dict_type"):
        return _not_a_section(key, value, _keys_at(model, keys))
    if kind == "string_type":
        read_as = "yes or no" if isinstance(value, bool) else f"a {_KINDS.get(type(value), type(value).__name__)}"
        return f"must be a text: put it in quotes, or YAML takes it for {read_as}"
    if kind == "tuple_type" and key.isdigit():
        return f"must be a list itself, as in {keys[-2]}: [[one, another]]"
    if kind == "tuple_type":
        return f"must be a list, as in {key}: [{_shown(value) if isinstance(value, str) else 'one, another'}]"
    what = detail["msg"].removeprefix("Value error, ")
    for pydantics, ours in _WORDS.items():
        what = what.replace(pydantics, ours)
    return what[:1].lower() + what[1:]


_KINDS: dict[type, str] = {int: "number", float: "number", dict: "mapping"}
_WORDS = {
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
    ", unable to interpret input": "",
    "Input should be a valid integer": "must be a whole number",
    "Input should be a valid number": "must be a number",
    "Input should be a valid boolean": "must be true or false",
    "Input should be": "must be",
}


def _not_a_section(key: str, value: Any, known: list[str]) -> str:
    if isinstance(value, bool) and "enabled" in known:
        return f"must hold keys; write {key}: {{enabled: {str(value).lower()}}}"
    example = next((name for name in known if name != "enabled"), "key")
    return f"must hold keys, one a line, such as '{example}: ...'; a colon needs a space after it"


def _unknown_key(keys: tuple[str, ...], model: type[BaseModel]) -> str:
    known = _keys_at(model, keys[:-1])
    if "password" in keys[-1].lower():
        return (
            "a password is never in the configuration: put it in a file named by mqtt.password_file, "
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
    text = repr(value)
    if len(text) > MOST_READ:
        return f"this, of {len(text):,} characters,"
    return _cut(redact(text))  # before it is cut: half of a camera's address no longer looks like one


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
