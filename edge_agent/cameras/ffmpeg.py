"""Shared by films and network streams: FFmpeg's libraries, through PyAV.

Not through OpenCV. When the pixel format or the size changes on the way, it reads memory that is not the picture's (its
issue 27116). It also reports neither a frame's own time nor that it is damaged.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_agent.cameras import Image
from edge_agent.errors import MissingPackageError


def import_av() -> Any:
    """The package ``av``.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            f"films and network cameras need PyAV, which cannot be imported ({error}); pip install 'av>=17,<20'"
        ) from error
    return av


def video_of(container: Any) -> Any:
    """The first stream of moving pictures, or None; the cover of a music file does not count."""
    from av.stream import Disposition

    return next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)


def to_image(frame: Any, video: Any) -> Image:
    """BGR of shape (height, width, 3) as players show it: square pixels, turned and mirrored as the file says.

    The display matrix (ISO/IEC 14496-12, 6.2.2) moves a pixel from (x, y) to (a x + c y, b x + d y).
    """
    width = round(frame.width * (video.sample_aspect_ratio or 1))
    image: Image = frame.reformat(width=width, format="bgr24").to_ndarray()
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
        if abs(b) > abs(a):
            image, a, d = image.transpose(1, 0, 2), c, b
        image = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return image
