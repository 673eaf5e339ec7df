"""A camera in a child process, read through a pipe.

``read()`` of a camera driver can block for ever (OpenCV on RTSP: opencv issue 22677), opening Picamera2 again in the
same process leaks memory (picamera2 issue 958), and a damaged film can end its decoder. All of that ends with the
process, so the driver gets a separate one. For each picture it writes :data:`HEAD`, a note and BGR bytes. At the end of
a film it writes a head of zeros. Its error is its last line on stderr, and its exit code says which error.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_agent.cameras import Picture
from edge_agent.cameras.pace import pace_of
from edge_agent.cameras.picture_files import shown
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError, CameraStalledError, CountenanceError, InputError, MissingPackageError
from edge_agent.host.children import environment, python
from edge_agent.host.redaction import redact

HEAD = struct.Struct("<IIddI")
"""Height and width in pixels, ``at_s`` (NaN: live), ``lasts_s``, bytes of the note."""
OPENING_S = 20.0
"""Extra seconds for the first picture: an RTSP handshake, or Picamera2's import on a small board."""
KILL_AFTER_S = 2.0


def open_child(config: CameraConfig, looks_per_s: float = 0.0) -> ChildCamera:
    """Start ``edge_agent.cameras.reader`` for this camera and wait for its first picture.

    A live camera passes on at most ``looks_per_s`` pictures a second; 0 means all. A film is thinned by its reader.

    Raises:
        CameraError: the child could not open the camera.
        InputError: it could not read the film.
        MissingPackageError: the package it needs is not installed.
    """
    # The configuration goes through a pipe: a URL may have a password, and everyone can read a command line.
    command = python("edge_agent.cameras.reader")
    name = f"replay: {shown(Path(str(config.source)))}" if config.backend == "replay" else f"{config.backend} camera"
    told = json.dumps({"camera": config.model_dump(mode="json"), "looks_per_s": looks_per_s})
    camera = ChildCamera(command, name, stall_timeout_s(config, looks_per_s), stdin=told)
    try:
        camera.open()
    except BaseException:
        camera.close()
        raise
    return camera


def stall_timeout_s(config: CameraConfig, looks_per_s: float) -> float:
    """Seconds without a new picture that count as a stall: a slow camera gets ten of its own frame intervals."""
    per_s = pace_of(config, looks_per_s)
    return max(config.stall_s, 10.0 / per_s if per_s else 0.0)


class ChildCamera:
    """Pictures from a child's standard output.

    Args:
        command: program and arguments.
        name: what messages call it.
        stall_s: seconds without a picture after which a read raises.
        stdin: text handed to the child.
    """

    def __init__(self, command: Sequence[str], name: str, stall_s: float, *, stdin: str = "") -> None:
        self._name = name
        self._stall_s = stall_s
        self._opening_s = OPENING_S
        self._first: Picture | None = None
        self._closing = threading.Lock()
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            bufsize=0,
            start_new_session=True,  # a new process group, so that what it starts can be ended with it
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._out, self._err = self._child.stdout.fileno(), self._child.stderr
        os.set_blocking(self._err.fileno(), False)
        self._complaint = b""
        with contextlib.suppress(BrokenPipeError):  # the child has already ended; the read says why
            self._child.stdin.write(stdin.encode())
        self._child.stdin.close()

    def open(self) -> None:
        """Wait for the first picture, which :meth:`read` then gives; raises as that does."""
        self._first = self.read()

    def read(self) -> Picture | None:
        """The next picture; see :class:`edge_agent.cameras.Camera`."""
        if self._first is not None:
            picture, self._first = self._first, None
            return picture
        deadline = time.monotonic() + self._stall_s + self._opening_s
        height, width, at_s, lasts_s, note_bytes = HEAD.unpack(self._receive(HEAD.size, deadline))
        if not height:
            return None
        note = self._receive(note_bytes, deadline).decode()
        pixels = np.frombuffer(self._receive(height * width * 3, deadline), np.uint8).reshape(height, width, 3)
        self._opening_s = 0.0
        return Picture(pixels, None if math.isnan(at_s) else at_s, lasts_s, note)

    def close(self) -> None:
        """End the child and what it started, by force if they do not end."""
        with self._closing:  # once it was waited for, its id may be that of another process
            if self._child.returncode is None:
                self._signal(signal.SIGTERM)
                end_s = time.monotonic() + KILL_AFTER_S
                while not self._has_ended() and time.monotonic() < end_s:
                    time.sleep(0.01)
                self._signal(signal.SIGKILL)  # before waiting for the child: until then the group's id belongs to it
                self._child.wait()
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()

    def _receive(self, size: int, deadline: float) -> bytearray:
        """This many bytes; if a head ends early, the child has ended."""
        data = bytearray(size)
        view, filled = memoryview(data), 0
        while filled < size:
            self._wait(deadline)
            count = os.readv(self._out, [view[filled:]])
            if count == 0:
                raise self._gone()
            filled += count
        return data

    def _wait(self, deadline: float) -> None:
        """Wait until there is something to read, and empty the child's stderr meanwhile."""
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise CameraStalledError(
                    f"{self._name}: no new picture for {self._stall_s:.0f} s "
                    "(silent, or always the very same: stalled); it is opened again"
                )
            try:
                ready, _, _ = select.select([self._out], [], [], min(remaining, 1.0))
            except (OSError, ValueError):
                raise CameraError(f"{self._name}: closed while waiting for a frame") from None
            self._drain_stderr()
            if ready:
                return

    def _drain_stderr(self) -> None:
        if not self._err.closed:
            self._complaint = (self._complaint + (self._err.read() or b""))[-4000:]

    def _gone(self) -> CountenanceError:
        """Why the child's output ended, without secrets: the page shows it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(KILL_AFTER_S)
        self._drain_stderr()
        lines = self._complaint.decode(errors="replace").strip().splitlines()
        code = self._child.returncode
        if code is not None and code < 0:
            reason = f"its process was ended by {signal.Signals(-code).name} (a decoder's crash, or no memory left)"
        else:
            reason = redact(lines[-1].strip()) if lines else f"its process ended with code {code}"
        kinds: tuple[type[CountenanceError], ...] = MissingPackageError, InputError
        kind = next((kind for kind in kinds if kind.exit_code == code), CameraError)
        return kind(reason if reason.startswith(self._name) else f"{self._name}: {reason}")

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, number)
