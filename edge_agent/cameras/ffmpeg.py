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


class Display:
    """Shows a stream's frames as players do: with square pixels, turned and mirrored as the file says.

    The display matrix (ISO/IEC 14496-12, 6.2.2) leads a pixel from (x, y) to (a x + c y, b x + d y). It is the file's,
    so only the first frame is asked: PyAV keeps a frame whose side data was read until the garbage collector runs.
    """

    def __init__(self, video: Any) -> None:
        self._video = video
        self._matrix: tuple[int, int, int, int] | None = None

    def image(self, frame: Any) -> Image:
        """The frame as BGR of shape (height, width, 3)."""
        width = round(frame.width * (self._video.sample_aspect_ratio or 1))
        image: Image = frame.reformat(width=width, format="bgr24").to_ndarray()
        if self._matrix is None:
            self._matrix = _matrix(frame)
        a, b, c, d = self._matrix
        if abs(b) > abs(a):
            image, a, d = image.transpose(1, 0, 2), c, b
        return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _matrix(frame: Any) -> tuple[int, int, int, int]:
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = np.frombuffer(data, np.int32).tolist()
    return a, b, c, d
