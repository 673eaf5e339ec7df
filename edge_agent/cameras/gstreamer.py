"""Any GStreamer pipeline, through ``gst-launch-1.0``: pip's OpenCV is built without GStreamer.

Made for Jetson CSI cameras (``nvarguscamerasrc``); the same child can be killed when a pipeline hangs.
"""

from __future__ import annotations

import shlex
import shutil
from fractions import Fraction

from edge_agent.cameras.child import ChildCamera, FrameShape, stall_timeout_s
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError, MissingPackageError

PROGRAM = "gst-launch-1.0"
# Elements print: nvarguscamerasrc tells its sensor modes on standard output, and one line among the frames would shift
# all that follow. So the frames get the pipe under another number, and what is printed goes nowhere: on standard
# error it would hide GStreamer's own last line, which says why a pipeline ended.
FRAMES_FD = 3
_FRAMES_APART = ["sh", "-c", f'exec "$@" {FRAMES_FD}>&1 >/dev/null', "sh"]


def open_gstreamer(config: CameraConfig) -> ChildCamera:
    """Run the pipeline of ``camera.source`` and read its pictures as BGR of the configured size.

    Raises:
        CameraError: ``camera.source`` is no pipeline.
        MissingPackageError: GStreamer's tools are not installed.
    """
    if shutil.which(PROGRAM) is None:
        raise MissingPackageError(
            f"gstreamer camera: {PROGRAM} is not installed; sudo apt install gstreamer1.0-tools "
            "gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
        )
    if not isinstance(config.source, str) or not config.source.strip():
        raise CameraError("gstreamer camera: camera.source must be a pipeline without its sink, e.g. 'videotestsrc'")
    # GStreamer pads each row of packed BGR to a multiple of four bytes (GstVideoInfo's default stride).
    shape = FrameShape(config.width_px, config.height_px, (config.width_px * 3 + 3) // 4 * 4)
    return ChildCamera(_command(config), "gstreamer camera", stall_timeout_s(config), shape)


def _command(config: CameraConfig) -> list[str]:
    caps = f"video/x-raw,format=BGR,width={config.width_px},height={config.height_px}"
    elements = [*shlex.split(str(config.source)), "!", "videoconvert", "!", "videoscale"]
    if config.fps:
        pace = Fraction(config.fps).limit_denominator(1000)
        elements += ["!", "videorate", "drop-only=true"]  # a pace is a limit: frames are left out, never doubled
        caps += f",framerate=[0/1,{pace.numerator}/{pace.denominator}]"
    return [*_FRAMES_APART, PROGRAM, "-q", *elements, "!", caps, "!", "fdsink", f"fd={FRAMES_FD}"]
