"""What the device is, as the retained ``info`` message says it: nothing in it is secret or changes while it runs."""

from __future__ import annotations

import hashlib
import platform
from typing import Any

from edge_agent import __version__
from edge_agent.config import Config


def describe(
    config: Config, labels: tuple[str, ...], model: str, model_sha256: str, detector: str, runtime: str
) -> dict[str, Any]:
    """Content of ``info`` beside schema, device and session.

    Args:
        labels: emotions in the model's order.
        model: the name that every window carries as ``model``.
        model_sha256: hash of the model file, hexadecimal.
        detector: the detector at work (``auto`` resolved).
        runtime: the interpreter at work.
    """
    return {
        "version": __version__,
        "name": config.device.name,
        "labels": list(labels),
        "model": model,
        "model_sha256": model_sha256,
        "detector": detector,
        "runtime": runtime,
        "camera": config.camera.backend,
        "window_s": config.window.seconds,
        "min_people": config.privacy.min_people,
        "config_sha256": config_hash(config),
        "machine": platform.machine(),
        "capabilities": ["pause", "resume", "reload", "identify", "set_window", "history"],
    }


def config_hash(config: Config) -> str:
    """Tells whether two devices run the same settings; SHA-256 of the JSON of all of them, hexadecimal."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()
