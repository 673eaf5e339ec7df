"""Network cameras (RTSP, HTTP and all else that FFmpeg reads). Runs in the reader's process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from edge_agent.cameras import Image
from edge_agent.cameras.ffmpeg import Display, import_av, video_of
from edge_agent.cameras.pace import Pace
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError
from edge_agent.host.redaction import redact

_OPTIONS = {"rtsp_transport": "tcp"}
"""Over UDP a lost packet smears the picture, and a smear can be read as an expression."""
SNAPSHOTS_PER_S = 5.0
"""Most requests a second to an address that gives a single picture."""


class _Connection:
    """One connection to an address."""

    def __init__(self, source: str, shown: str, pace: Pace) -> None:
        self._source, self._shown, self._pace = source, shown, pace
        self.received = 0
        """Packets of the picture."""

    def images(self) -> Iterator[Image]:
        """The frames that are due, until the stream ends. In a format without predictions (MJPEG) other frames are not
        even decoded.

        Raises:
            CameraError: it cannot be opened.
        """
        av = import_av()
        try:
            container = av.open(self._source, options=_OPTIONS)
        except av.error.FFmpegError as error:
            raise CameraError(
                f"{self._shown}: cannot open the stream ({error.strerror}); "
                "check address, user and password with: ffplay URL"
            ) from error
        with container, suppress(av.error.FFmpegError):  # in any case: it stopped giving frames
            if (video := video_of(container)) is None:
                raise CameraError(f"{self._shown}: the stream holds no moving picture; check the address")
            all_or_none, display = video.codec_context.codec.intra_only, Display(video)
            for packet in container.demux(video):
                self.received += packet.size > 0
                if all_or_none and not self._pace.is_due(time.monotonic()):
                    continue
                with suppress(av.error.InvalidDataError):  # one damaged packet
                    for frame in packet.decode():
                        if not frame.is_corrupt and (all_or_none or self._pace.is_due(time.monotonic())):
                            yield display.image(frame)


def frames(config: CameraConfig, per_s: float) -> Iterator[Image]:
    """Frames as they arrive, thinned to ``per_s`` a second (0: all); a still picture is requested again and again.

    Raises:
        CameraError: it cannot be opened, it stopped giving frames, or their size changed.
        MissingPackageError: PyAV is not installed.
    """
    shown = f"opencv camera {redact(str(config.source))}"
    pace = Pace(per_s)
    snapshots_per_s = min(per_s or SNAPSHOTS_PER_S, SNAPSHOTS_PER_S)
    size: tuple[int, ...] = ()
    while True:
        connection, asked_s = _Connection(str(config.source), shown, pace), time.monotonic()
        for image in connection.images():
            if size not in ((), image.shape):
                raise CameraError(f"{shown}: the picture's size changed from {_text(size)} to {_text(image.shape)}")
            size = image.shape
            yield image
        if connection.received != 1:
            raise CameraError(f"{shown}: it stopped giving frames (unplugged, or the stream ended)")
        time.sleep(max(0.0, asked_s + 1.0 / snapshots_per_s - time.monotonic()))


def _text(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
