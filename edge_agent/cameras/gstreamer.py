"""Any GStreamer pipeline, through ``gst-launch-1.0``: pip's OpenCV is built without GStreamer.

Made for Jetson CSI cameras (``nvarguscamerasrc``); the same child can be killed when a pipeline hangs.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from edge_agent.cameras import Image
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError, MissingPackageError
from edge_agent.host.children import environment

PROGRAM = "gst-launch-1.0"
FAULTY_PIPELINE = "WARNING: erroneous pipeline: "
ERROR = "ERROR: "
OF_ELEMENT = "ERROR: from element "
# Elements print: nvarguscamerasrc writes its sensor modes to standard output, and one line among the frames would shift
# all frames after it. So the frames get the pipe under another number, and what is printed is dropped. On standard
# error it would hide GStreamer's last line, which says why a pipeline ended.
FRAMES_FD = 3
KEPT_LINES = 200
LAST_WORDS_S = 1.0
_FRAMES_APART = ["sh", "-c", f'exec "$@" {FRAMES_FD}>&1 >/dev/null', "sh"]


def frames(config: CameraConfig, per_s: float) -> Iterator[Image]:
    """Pictures of ``camera.source``'s pipeline as BGR of the configured size, thinned to ``per_s`` a second (0: all).

    Raises:
        CameraError: ``camera.source`` is no pipeline, or it ended.
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
    width, height, stride = config.width_px, config.height_px, (config.width_px * 3 + 3) // 4 * 4
    environ = {**environment(), "LC_ALL": "C"}  # the cause is recognised by its English words
    pipe = subprocess.PIPE
    with subprocess.Popen(
        _command(config, per_s), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environ
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines: deque[bytes] = deque(maxlen=KEPT_LINES)
        listener = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
        listener.start()
        while len(data := process.stdout.read(height * stride)) == height * stride:
            rows = np.frombuffer(data, np.uint8).reshape(height, stride)[:, : width * 3]
            yield rows.reshape(height, width, 3)
        listener.join(LAST_WORDS_S)
    told = [line.decode(errors="replace").strip() for line in lines]
    reason = first_error(told) if told else f"{PROGRAM} ended with code {process.returncode}"
    raise CameraError(f"gstreamer camera: {reason}")


def _command(config: CameraConfig, per_s: float) -> list[str]:
    caps = f"video/x-raw,format=BGR,width={config.width_px},height={config.height_px}"
    try:
        elements = shlex.split(str(config.source))
    except ValueError as error:
        raise CameraError(f"gstreamer camera: camera.source is no pipeline: {error}") from error
    if per_s:
        pace = Fraction(per_s).limit_denominator(1000)
        # A pace is a limit: frames are left out, never doubled. They are left out before any work is done on them.
        limit = f"video/x-raw(ANY),framerate=[0/1,{pace.numerator}/{pace.denominator}]"
        elements += ["!", "videorate", "drop-only=true", "!", limit]
    elements += ["!", "videoconvert", "!", "videoscale", "!", caps]
    return [*_FRAMES_APART, PROGRAM, "-q", *elements, "!", "fdsink", f"fd={FRAMES_FD}"]


def first_error(lines: Sequence[str]) -> str:
    """The first error of gst-launch, with its detail; the errors after it only follow from it.

    ::

        ERROR: from element /GstPipeline:pipeline0/GstV4l2Src:v4l2src0: Cannot identify device '/dev/video99'.
        Additional debug info:
        ../sys/v4l2/v4l2_calls.c(608): gst_v4l2_open (): /GstPipeline:pipeline0/GstV4l2Src:v4l2src0:
        system error: No such file or directory
        ERROR: pipeline doesn't want to preroll.
        Failed to set pipeline to PAUSED.
    """
    for number, line in enumerate(lines):
        if line.startswith(FAULTY_PIPELINE):
            return line.removeprefix(FAULTY_PIPELINE)
        if line.startswith(OF_ELEMENT):
            path, _, text = line.removeprefix(OF_ELEMENT).partition(": ")
            detail = _detail(lines[number + 1 : number + 4])
            return f"{path.rpartition(':')[2]}: {text}" + (f" ({detail})" if detail else "")
        if line.startswith(ERROR):
            return line.removeprefix(ERROR)
    return lines[-1]


def _detail(lines: Sequence[str]) -> str:
    """The line below the place in GStreamer's source, if there is one."""
    if len(lines) < 3 or lines[0] != "Additional debug info:" or lines[2].startswith((ERROR, "Failed to set pipeline")):
        return ""
    return lines[2].strip()
