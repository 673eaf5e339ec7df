"""The broker's password: from systemd's credentials, a file or the environment, never from the YAML."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from edge_agent.errors import ConfigError

CREDENTIAL_NAME = "mqtt_password"
ENV_NAME = "COUNTENANCE_MQTT_PASSWORD"


def mqtt_password(password_file: Path | None, environ: Mapping[str, str] = os.environ) -> SecretStr | None:
    """The password, the first of: ``password_file``, ``$CREDENTIALS_DIRECTORY/mqtt_password``, the environment.

    Raises:
        ConfigError: a file that should hold it cannot be read or is empty.
    """
    if password_file is not None:
        return _read(password_file)
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory and (Path(directory) / CREDENTIAL_NAME).exists():
        return _read(Path(directory) / CREDENTIAL_NAME)
    return SecretStr(environ[ENV_NAME]) if environ.get(ENV_NAME) else None


def _read(path: Path) -> SecretStr:
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot read the MQTT password ({error}); make the file readable to this user"
        ) from error
    if not text:
        raise ConfigError(f"{path}: the MQTT password file is empty; write the password into it")
    return SecretStr(text)
