"""The broker's password and the page's token: from systemd's credentials, a file or the environment, never the YAML."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from edge_agent.errors import ConfigError

CREDENTIAL_NAME = "mqtt_password"
ENV_NAME = "COUNTENANCE_MQTT_PASSWORD"
LONGEST = 4096
"""Bytes of a password; MQTT can say 65,535."""
TOKEN_CREDENTIAL_NAME = "kiosk_token"  # noqa: S105 (a name, not a token)
TOKEN_ENV_NAME = "COUNTENANCE_KIOSK_TOKEN"  # noqa: S105


def mqtt_password(password_file: Path | None, environ: Mapping[str, str] = os.environ) -> SecretStr | None:
    """The password; the first found of ``password_file``, ``$CREDENTIALS_DIRECTORY/mqtt_password``, the environment.

    Raises:
        ConfigError: a file that should hold it cannot be read or is empty.
    """
    if password_file is not None:
        return _read(password_file, "MQTT password")
    return _find(CREDENTIAL_NAME, ENV_NAME, "MQTT password", environ=environ)


def kiosk_token(environ: Mapping[str, str] = os.environ) -> SecretStr | None:
    """The token of the page that reads pictures: ``$CREDENTIALS_DIRECTORY/kiosk_token``, then the environment.

    Raises:
        ConfigError: the file that should hold it cannot be read or is empty.
    """
    return _find(TOKEN_CREDENTIAL_NAME, TOKEN_ENV_NAME, "page's token", environ=environ)


def _find(credential: str, variable: str, what: str, *, environ: Mapping[str, str]) -> SecretStr | None:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory and (Path(directory) / credential).exists():
        return _read(Path(directory) / credential, what)
    return SecretStr(environ[variable]) if environ.get(variable) else None


def _read(path: Path, what: str) -> SecretStr:
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1).decode("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read {path}, the file of the {what} ({error}); make it readable to this user"
        ) from error
    if not text:
        raise ConfigError(f"{path}: the file of the {what} is empty; write it there")
    if len(text) > LONGEST:
        raise ConfigError(f"{path}: longer than {LONGEST:,} bytes, so this is not the file of the {what}")
    return SecretStr(text)
