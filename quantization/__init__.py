"""Quantization: a run folder in, the full-int8 .tflite and its .json out, measured as the device computes."""
