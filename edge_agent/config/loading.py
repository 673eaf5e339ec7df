"""From a YAML file and the environment to a checked configuration."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_agent.config.explain import explain
from edge_agent.config.schema import Config
from edge_agent.config.yaml_text import MOST_CHARACTERS, parse_yaml
from edge_agent.errors import ConfigError

ENV_PREFIX = "COUNTENANCE_"
MOST_BYTES = 4 * MOST_CHARACTERS


def load_config(path: Path | None, environ: Mapping[str, str] = os.environ) -> Config:
    """Read ``path`` (None: only defaults), apply the environment and validate.

    Raises:
        ConfigError: the file is missing, unreadable, empty or not YAML, or values are wrong; one line a fault.
    """
    values = _read_yaml(path) if path is not None else {}
    return make_config(values, str(path) if path is not None else "defaults", environ)


def make_config(values: dict[str, Any], origin: str, environ: Mapping[str, str]) -> Config:
    """Apply the environment to ``values`` and validate; messages call them ``origin``.

    Raises:
        ConfigError: values are wrong; one line a fault.
    """
    merged, sources = _with_environment(values, environ)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(explain(error, merged, origin, sources=sources, model=Config)) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path}: this is no regular file; give the configuration's with -c FILE")
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1).decode("utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read the configuration: {error.strerror}; give a file with -c FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from error
    except ValueError as error:  # a NUL in the name
        raise ConfigError(f"{path!r}: no file can have this name; give one with -c FILE") from error
    values = parse_yaml(text, str(path))
    if values is None:
        raise ConfigError(f"{path}: the file is empty; start from configs/agent.yaml")
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: the top level holds sections such as 'camera:', not a {type(values).__name__}")
    return values


def _with_environment(
    values: dict[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """Apply ``COUNTENANCE_A__B=value`` to ``values``; also return which key came from which variable."""
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    sources: dict[tuple[str, ...], str] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX) or "__" not in name:
            continue
        keys = tuple(part.lower() for part in name[len(ENV_PREFIX) :].split("__"))
        # As YAML, so that numbers, booleans and lists come out as they would from the file.
        _put(merged, keys, parse_yaml(text, f"environment variable {name}"))
        sources[keys] = name
    return merged, sources


def _put(tree: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    """Set ``tree[a][b] = value``, copying nested mappings, and making missing ones."""
    *parents, last = keys
    for key in parents:
        child = tree.get(key)
        tree[key] = dict(child) if isinstance(child, dict) else {}
        tree = tree[key]
    tree[last] = value
