"""What ``countenance-fleet`` is told: a YAML file, or nothing at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from edge_agent.errors import ConfigError

BROKERS = ("mqtt", "mqtts", "nats", "tls")
DATABASES = ("sqlite", "postgresql")


def _of(schemes: tuple[str, ...]) -> AfterValidator:
    def check(url: str) -> str:
        if urlsplit(url).scheme not in schemes:
            raise ValueError(f"must begin with {' or '.join(scheme + '://' for scheme in schemes)}")
        return url

    return AfterValidator(check)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Page(_Strict):
    """The page and the API."""

    host: str = "127.0.0.1"
    port: int = Field(default=8790, ge=0, le=65535)
    token_file: Path | None = None
    """Who asks from elsewhere must show this file's text as a bearer token; without it only loopback is served."""


class Settings(_Strict):
    """See docs/fleet.md, which has an example."""

    broker: Annotated[str, _of(BROKERS)] = "mqtt://127.0.0.1:1883"
    prefix: str = Field(default="countenance", pattern=r"^[^+#\s.]+$")
    database: Annotated[str, _of(DATABASES)] = "sqlite:///fleet.sqlite"
    keep_days: int = Field(default=400, ge=1)
    models: tuple[Path, ...] = ()
    """More models' .json files: what their answers mean is needed to correct the shares. Shipped models are known."""
    page: Page = Page()


def load_settings(path: Path | None) -> Settings:
    """Read the file; None gives the defaults. Raises ConfigError, which lists every fault."""
    if path is None:
        return Settings()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Settings.model_validate({} if content is None else content)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{path}: {faults}") from error
