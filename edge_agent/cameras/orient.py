"""Turns, masks and cuts a picture before it is read."""

from __future__ import annotations

import numpy as np

from edge_agent.cameras import Image
from edge_agent.config import CameraConfig, Region

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


def orient(image: Image, config: CameraConfig) -> Image:
    """Turn and mirror a BGR picture of shape (height, width, 3), black out its masks and cut it to its region."""
    turned = image
    if config.rotate_deg or config.mirror:
        import cv2  # its turns and mirrors take a twentieth of the time of numpy's; who needs none saves its memory

        if config.rotate_deg:
            turns = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
            turned = np.asarray(cv2.rotate(turned, turns[config.rotate_deg]), np.uint8)
        if config.mirror:
            turned = np.asarray(cv2.flip(turned, 1), np.uint8)
    if config.masks:
        turned = turned.copy()
        for mask in config.masks:
            turned[_part(mask, turned)] = 0
    if config.region != WHOLE:
        turned = turned[_part(config.region, turned)]
    return np.ascontiguousarray(turned)


def _part(region: Region, image: Image) -> tuple[slice, slice]:
    """Rows and columns of (x, y, width, height), at least one of each."""
    height, width = image.shape[:2]
    x, y, w, h = region
    left, top = min(width - 1, round(x * width)), min(height - 1, round(y * height))
    return slice(top, max(top + 1, round((y + h) * height))), slice(left, max(left + 1, round((x + w) * width)))
