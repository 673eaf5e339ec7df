"""Any GStreamer pipeline, through GStreamer's C library: pip's OpenCV is built without it.

Made for Jetson CSI cameras (``nvarguscamerasrc``). It runs in the camera's child, which can be killed when a pipeline
hangs, and not in ``gst-launch-1.0``: everyone on the machine could read a pipeline's password on its command line.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_int, c_uint32, c_uint64, c_void_p
from fractions import Fraction

import numpy as np

from edge_agent.cameras import Image
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError, MissingPackageError

LIBRARY = "libgstreamer-1.0.so.0"
PLAYING = 4
END_OF_STREAM, ERROR = 1 << 0, 1 << 1
"""GstMessageType, https://gstreamer.freedesktop.org/documentation/gstreamer/gstmessage.html"""
FOR_EVER = (1 << 64) - 1
LAST_WORDS_S = 1.0


class _GError(ctypes.Structure):
    _fields_ = (("domain", c_uint32), ("code", c_int), ("message", c_char_p))


def frames(config: CameraConfig, per_s: float) -> Iterator[Image]:
    """Pictures of ``camera.source``'s pipeline as BGR of the configured size, thinned to ``per_s`` a second (0: all).

    Raises:
        CameraError: ``camera.source`` is no pipeline, or it ended.
        MissingPackageError: GStreamer is not installed.
    """
    if not isinstance(config.source, str) or not config.source.strip():
        raise CameraError("gstreamer camera: camera.source must be a pipeline without its sink, e.g. 'videotestsrc'")
    gst = _library()
    receive, send = os.pipe()
    pipeline = _parse(gst, f"{config.source} {_tail(config, per_s)} ! fdsink fd={send}")
    reasons: list[str] = []
    listener = threading.Thread(target=_listen, args=(gst, pipeline, send), kwargs={"reasons": reasons}, daemon=True)
    listener.start()
    gst.gst_element_set_state(pipeline, PLAYING)
    # GStreamer pads each row of packed BGR to a multiple of four bytes (GstVideoInfo's default stride).
    width, height, stride = config.width_px, config.height_px, (config.width_px * 3 + 3) // 4 * 4
    with os.fdopen(receive, "rb") as pictures:
        while len(data := pictures.read(height * stride)) == height * stride:
            rows = np.frombuffer(data, np.uint8).reshape(height, stride)[:, : width * 3]
            yield rows.reshape(height, width, 3)
    listener.join(LAST_WORDS_S)
    raise CameraError(f"gstreamer camera: {reasons[0] if reasons else 'the pipeline ended'}")


def _library() -> ctypes.CDLL:
    try:
        gst = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise MissingPackageError(
            f"gstreamer camera: {LIBRARY} is not installed; sudo apt install gstreamer1.0-plugins-base "
            "gstreamer1.0-plugins-good"
        ) from error
    gst.gst_parse_launch.restype = gst.gst_element_get_bus.restype = c_void_p
    gst.gst_bus_timed_pop_filtered.restype = gst.gst_message_get_structure.restype = c_void_p
    gst.gst_parse_launch.argtypes = [c_char_p, POINTER(POINTER(_GError))]
    gst.gst_element_get_bus.argtypes = [c_void_p]
    gst.gst_element_set_state.argtypes = [c_void_p, c_int]
    gst.gst_bus_timed_pop_filtered.argtypes = [c_void_p, c_uint64, c_int]
    gst.gst_message_get_structure.argtypes = [c_void_p]
    gst.gst_message_parse_error.argtypes = [c_void_p, POINTER(POINTER(_GError)), POINTER(c_char_p)]
    gst.gst_init(None, None)
    return gst


def _tail(config: CameraConfig, per_s: float) -> str:
    caps = f"video/x-raw,format=BGR,width={config.width_px},height={config.height_px}"
    limit = ""
    if per_s:
        pace = Fraction(per_s).limit_denominator(1000)
        # A pace is a limit: frames are left out, never doubled. They are left out before any work is done on them.
        limit = f"! videorate drop-only=true ! video/x-raw(ANY),framerate=[0/1,{pace.numerator}/{pace.denominator}] "
    return f"{limit}! videoconvert ! videoscale ! {caps}"


def _parse(gst: ctypes.CDLL, description: str) -> int:
    error = POINTER(_GError)()
    pipeline: int | None = gst.gst_parse_launch(description.encode(), byref(error))
    if error or pipeline is None:
        raise CameraError(f"gstreamer camera: camera.source is no pipeline: {_text(error.contents.message)}")
    return pipeline


def _listen(gst: ctypes.CDLL, pipeline: int, send: int, *, reasons: list[str]) -> None:
    """Wait for the pipeline's end, note the reason, and close the pipe, which ends the reading of pictures."""
    # One look for both: whatever a look is not for is dropped by it.
    message = gst.gst_bus_timed_pop_filtered(gst.gst_element_get_bus(pipeline), FOR_EVER, END_OF_STREAM | ERROR)
    if gst.gst_message_get_structure(message):  # only an error has one
        error, detail = POINTER(_GError)(), c_char_p()
        gst.gst_message_parse_error(message, byref(error), byref(detail))
        reasons.append(_reason(_text(error.contents.message), _text(detail.value)))
    os.close(send)


def _reason(message: str, debug: str) -> str:
    """What went wrong, in which element, and the detail; ``debug`` has the place in GStreamer's source before both.

    For example ``../sys/v4l2/v4l2_calls.c(608): gst_v4l2_open (): /GstPipeline:pipeline0/GstV4l2Src:v4l2src0:`` and
    ``system error: No such file or directory`` on a line of its own.
    """
    place, _, detail = debug.partition("\n")
    element = place.rstrip(":").rpartition(":")[2]
    return f"{element}: {message}" + (f" ({detail.strip()})" if detail.strip() else "")


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")
