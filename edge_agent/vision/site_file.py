"""``site.json`` beside the store: a site's own calibration (:mod:`edge_agent.shares.site`), replaced as a whole."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from edge_agent.config import Config
from edge_agent.errors import InputError
from edge_agent.host.files import write_atomically
from edge_agent.shares.reference import Reference, base64_text
from edge_agent.shares.site import Site
from edge_agent.vision.model import ModelInfo

log = logging.getLogger(__name__)

_Base64 = Annotated[str, AfterValidator(base64_text)]


class SiteFile(BaseModel):
    """The file's form."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model_sha256: str
    head: str
    weights: tuple[tuple[float, ...], ...]
    """An affine re-reading: added to the calibrated logits are these times (centred logits, 1)."""
    labels: _Base64
    """uint8, which emotion each face was asked for, in base64."""
    posteriors: _Base64
    """float16, re-read answers of shape (faces, labels), row by row, in base64; shuffled."""
    error_before: float = Field(ge=0)
    """Cross-validated mean error of shares in points, without and with this calibration."""
    error_after: float = Field(ge=0)

    def decode(self) -> Site:
        """Raises ValueError where the parts do not belong together."""
        weights = np.array(self.weights, dtype=np.float64)
        labels = np.frombuffer(base64.b64decode(self.labels), np.uint8).astype(np.int64)
        posteriors = np.frombuffer(base64.b64decode(self.posteriors), "<f2").astype(np.float64).reshape(len(labels), -1)
        classes = posteriors.shape[1]
        if weights.shape != (classes, classes + 1) or labels.max() >= classes or not np.isfinite(posteriors).all():
            raise ValueError("its weights, labels and answers do not belong together")
        reference = Reference(posteriors / posteriors.sum(axis=1, keepdims=True), labels)
        return Site(self.model_sha256, self.head, weights, reference, self.error_before, self.error_after)


def site_path(config: Config) -> Path:
    """Where a site's calibration lies: beside the store, where the agent may read it."""
    return config.store.path.parent / "site.json"


def write_site(path: Path, site: Site) -> None:
    """Replace the file as a whole; only its owner, who is the folder's, may read it. Raises InputError."""
    file = SiteFile(
        model_sha256=site.model_sha256,
        head=site.head,
        weights=tuple(tuple(row) for row in site.weights.tolist()),
        labels=base64.b64encode(site.reference.labels.astype(np.uint8).tobytes()).decode(),
        posteriors=base64.b64encode(site.reference.posteriors.astype("<f2").tobytes()).decode(),
        error_before=site.error_before,
        error_after=site.error_after,
    )
    try:
        write_atomically(path, (file.model_dump_json(indent=1) + "\n").encode())
    except OSError as error:
        raise InputError(f"{path}: cannot write the calibration: {error.strerror}; is the folder there?") from error


def read_site(path: Path) -> Site | None:
    """The calibration, or None where there is no file; raises InputError for one that cannot be read."""
    try:
        return SiteFile.model_validate_json(path.read_bytes()).decode()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot read the site's calibration: {error.strerror}") from error
    except (ValidationError, ValueError):
        raise InputError(
            f"{path}: damaged; calibrate again, or remove it with: edge-agent calibrate --remove"
        ) from None


def site_in_use(path: Path, info: ModelInfo, head: str) -> Site | None:
    """The calibration if it was made for this head of this model; another one is set aside with a line in the log."""
    site = read_site(path)
    if site is None:
        return None
    if site.model_sha256 != info.sha256 or site.head != head or site.weights.shape[0] != len(info.labels):
        log.warning("%s: made for another model or other labels, set aside; calibrate again", path)
        return None
    return site
