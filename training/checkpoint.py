"""Everything a run needs to continue after a kill, in one file that is replaced as a whole."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edge_agent.errors import InputError
from training.files import write_atomically


def save(path: Path, model: keras.Model, history: list[dict[str, Any]]) -> None:
    """Weights, dropout's random state, the optimizer with its averages, and the history of the finished epochs."""
    variables = [*model.variables, *model.optimizer.variables]
    arrays = {f"v{i:04d}": keras.ops.convert_to_numpy(v.value) for i, v in enumerate(variables)}
    buffer = io.BytesIO()
    np.savez(buffer, history=np.array(json.dumps(history)), **arrays)
    write_atomically(path, buffer.getvalue())


def epochs_done(path: Path) -> int:
    """Number of finished epochs of a saved state; 0 without one."""
    if not path.is_file():
        return 0
    with np.load(path) as saved:
        return len(json.loads(str(saved["history"])))


def restore(path: Path, model: keras.Model) -> list[dict[str, Any]]:
    """Put a saved state back into a compiled model; returns the history.

    Raises InputError where the file belongs to another network.
    """
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    with np.load(path) as saved:
        arrays = [saved[name] for name in sorted(saved.files) if name != "history"]
        history: list[dict[str, Any]] = json.loads(str(saved["history"]))
    if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
        raise InputError(f"{path}: the checkpoint is of another network; start a new run folder")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return history
