"""``layers``: which layers of the int8 model differ most from the float model, on images of Training."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quantization.convert import as_inputs, quantized, representative, trained
from training.data import Faces

_IMAGES = 100
_STEP_ERROR = 1 / np.sqrt(12)
"""Root mean square error, in steps, of rounding alone."""


def layer_errors(run: Path, training: Faces, show: Callable[[str], None]) -> None:
    """Show each layer's root mean square error against the float layer, in steps of its own scale, worst first.

    Each layer is fed what the quantized layers before it give (TensorFlow's QuantizationDebugger); 0.29 is rounding
    alone. Where ``convert`` narrows a range, the error includes what is cut; little of that reaches an answer.
    Raises InputError where the run has no model.
    """
    import tensorflow as tf

    images = training.images[representative(training)]
    debugger = tf.lite.experimental.QuantizationDebugger(
        quant_debug_model_content=quantized(*trained(run), images, verify=True),
        debug_dataset=lambda: as_inputs(images[:: len(images) // _IMAGES]),
    )
    debugger.run()
    text = io.StringIO()
    debugger.layer_statistics_dump(text)
    rows = list(csv.DictReader(io.StringIO(text.getvalue())))
    errors = {row["tensor_name"]: (float(row["mean_squared_error"]) ** 0.5 / float(row["scale"]), row) for row in rows}
    show(f"{'error, steps':>12} {'scale':>9}  {'operation':18} tensor   (rounding alone: {_STEP_ERROR:.2f})")
    for name, (error, row) in sorted(errors.items(), key=lambda item: -item[1][0]):
        show(f"{error:12.2f} {float(row['scale']):9.5f}  {row['op_name']:18} {name.split(';')[0][-60:]}")
