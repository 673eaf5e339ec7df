"""Trains the face detector: scenes with boxes and landmarks to a run folder, from which ``quantization`` ships it."""
