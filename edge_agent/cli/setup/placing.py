"""Puts the answers of a first start in place: the configuration, and beside it the broker's password."""

from __future__ import annotations

import os
from pathlib import Path

from edge_agent.config import Config, make_config
from edge_agent.config.yaml_text import parse_yaml
from edge_agent.errors import ConfigError, InputError
from edge_agent.first_start.answers import Answers, as_yaml
from edge_agent.host.whole_files import write_whole
from edge_agent.preflight import check_fit
from edge_agent.vision.model import load_model

BEFORE = ".before-setup"
"""Added to the name of a configuration that was there, which is kept."""


def place(answers: Answers, file: Path, *, store: Path | None = None) -> Config:
    """Write ``file`` in one step, once it has passed all checks of ``edge-agent config check``.

    Args:
        store: where windows are kept, if not where the installed service keeps them.

    Returns:
        The configuration.

    Raises:
        ConfigError: the answers do not make a good configuration; nothing is changed.
        InputError: the files cannot be written.
    """
    password_file = file.parent.absolute() / "mqtt_password"
    text = as_yaml(answers, password_file, store)
    config = make_config(parse_yaml(text, str(file)), str(file), {})
    without_password = config.mqtt.model_copy(update={"password_file": None})  # it is not there yet
    check_fit(config.model_copy(update={"mqtt": without_password}), lambda: load_model(None).info.labels)
    if file.exists():
        write_whole(file.with_name(file.name + BEFORE), file.read_bytes())
    if answers.broker is not None and answers.broker.password:
        write_whole(password_file, f"{answers.broker.password}\n".encode())
    write_whole(file, text.encode())
    return config


def check_place(file: Path) -> None:
    """Before anything is asked: may this file be written? Raises InputError."""
    if not file.parent.is_dir():
        raise InputError(f"{file}: there is no folder {file.parent}; name a file with -o FILE")
    if not os.access(file.parent, os.W_OK):
        raise InputError(f"{file}: this user may not write there; run this with sudo, or name a file with -o FILE")
    if file.exists() and not file.is_file():
        raise ConfigError(f"{file}: this is no regular file; name another with -o FILE")
