"""Quantization: a run folder in, the full-int8 .tflite and its .json out, measured with the code that the device runs."""
