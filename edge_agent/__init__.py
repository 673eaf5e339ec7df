"""Facial-emotion percentages at the edge: from a camera's frames to MQTT and an offline page."""

import os

__version__ = "0.1.0"

MAX_MEGAPIXELS = 64
"""Largest picture that is decoded: 192 MB of BGR. A few kilobytes of PNG can claim far more."""

# OpenCV reads this limit once, when it is first imported, and checks it before it allocates.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_MEGAPIXELS * 1_000_000))
