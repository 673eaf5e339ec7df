"""Facial-emotion percentages at the edge: from a camera's frames to MQTT and an offline page."""

__version__ = "0.1.0"
