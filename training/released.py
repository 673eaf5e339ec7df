"""The float weights of a released model: ``training/weights/NAME.npz``, float16, half the size and enough for int8.

``quantization convert`` rounds a run's weights to float16 before anything else, so converting a released file gives
the very .tflite that is shipped. A run can start from one (``fit --from``), and learn from it (``fit --teacher``).
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from edge_agent.errors import InputError
from training.files import write_atomically
from training.model import build
from training.recipe import NETWORK, Backbone, Network

WEIGHTS = Path(__file__).parent / "weights"


def round_weights(model: keras.Model) -> None:
    """Make the model's weights float16 numbers, in place; it still computes in float32."""
    model.set_weights([_shortened(weight).astype(np.float32) for weight in model.get_weights()])


def _shortened(weight: NDArray[np.float32]) -> NDArray[Any]:
    """As float16, but for variances that are too large for it: those of a backbone that takes whole grey levels."""
    fits = np.abs(weight).max() <= np.finfo(np.float16).max
    return weight.astype(np.float16) if fits else weight


def write_weights(path: Path, model: keras.Model, network: BaseModel) -> None:
    """Keep a model's weights, as float16, with the network that they are for."""
    arrays: dict[str, Any] = {f"w{i:03d}": _shortened(w) for i, w in enumerate(model.get_weights())}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, network=np.array(network.model_dump_json()), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def read_weights(path: Path) -> tuple[keras.Model, Network | Backbone]:
    """The model, and the network that it is; raises InputError where the file is damaged or of another kind."""
    try:
        with np.load(path) as saved:
            network = NETWORK.validate_json(str(saved["network"]))
            weights = [saved[name].astype(np.float32) for name in sorted(saved.files) if name != "network"]
        model = build(network)
        model.set_weights(weights)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as a released model's weights: {error}") from error
    return model, network
