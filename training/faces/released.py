"""The float weights of the released detector, float16 as the classifiers': ``training/weights/faces.npz``."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import keras
import numpy as np

from edge_agent.errors import InputError
from training.faces.model import build
from training.faces.recipe import Network


def read_detector(path: Path) -> keras.Model:
    """The network of a ``weights.npz`` or a ``model.keras``; raises InputError where it is neither."""
    try:
        if path.suffix == ".keras":
            return keras.saving.load_model(path, compile=False)
        with np.load(path) as saved:
            model = build(Network.model_validate(json.loads(str(saved["network"]))))
            names = sorted(name for name in saved.files if name != "network")
            model.set_weights([saved[name].astype(np.float32) for name in names])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as a detector's weights: {error}") from error
    return model
