"""A camera in a child process, read through a pipe.

``read()`` of a camera driver can block for ever (OpenCV on RTSP: opencv issue 22677), and opening Picamera2 again in
the same process leaks memory (picamera2 issue 958). Both end with the process, so the driver gets one of its own. It
writes one JSON line ``{"width", "height", "stride"}`` and then rows of BGR bytes; its error is its last line on stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.cameras import Image
from edge_agent.config import CameraConfig
from edge_agent.errors import CameraError, CameraStalledError, MissingPackageError
from edge_agent.host.redaction import redact

OPENING_S = 20.0
"""Extra time for the first frame: an RTSP handshake or Picamera2's import on a small board."""
KILL_AFTER_S = 2.0


@dataclass(frozen=True, slots=True)
class FrameShape:
    """How the child's bytes make a picture."""

    width: int
    height: int
    stride: int
    """Bytes from one row to the next."""


def stall_timeout_s(config: CameraConfig) -> float:
    """Seconds of silence that count as a stall: a slow camera gets ten of its own frame intervals."""
    return max(config.stall_s, 10.0 / config.fps if config.fps > 0 else 0.0)


def open_child(config: CameraConfig) -> ChildCamera:
    """Start ``edge_agent.cameras.reader`` for this camera and wait for its first line.

    Raises:
        CameraError: the child could not open the camera.
        MissingPackageError: the package it needs is not installed.
    """
    # The configuration goes by a pipe, since a URL may hold a password and everyone can read a command line.
    command = [sys.executable, "-m", "edge_agent.cameras.reader"]
    camera = ChildCamera(command, f"{config.backend} camera", stall_timeout_s(config), stdin=config.model_dump_json())
    try:
        camera.read_shape()
    except BaseException:
        camera.close()
        raise
    return camera


def last_line(lines: Sequence[str]) -> str:
    """What our own reader ends with."""
    return lines[-1].strip()


class ChildCamera:
    """Frames from a child's standard output.

    Args:
        command: program and arguments.
        name: what messages call it.
        stall_s: seconds without a byte after which a read raises.
        shape: what the child writes; None when it announces it in a first line.
        stdin: text handed to the child.
        environ: the child's environment; None: ours.
        cause: finds the reason for its end in the lines, at least one, that it wrote to stderr.
    """

    def __init__(
        self,
        command: Sequence[str],
        name: str,
        stall_s: float,
        shape: FrameShape | None = None,
        stdin: str | None = None,
        environ: Mapping[str, str] | None = None,
        cause: Callable[[Sequence[str]], str] = last_line,
    ) -> None:
        self._name = name
        self._cause = cause
        self._stall_s = stall_s
        self._shape = shape
        self._first = True
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environ,
        )
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._out = self._child.stdout.fileno()
        os.set_blocking(self._child.stderr.fileno(), False)
        self._complaint = b""
        if stdin is not None and self._child.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # the child is gone already; the read says why
                self._child.stdin.write(stdin.encode())
            self._child.stdin.close()

    def read_shape(self) -> None:
        """Read the child's first line.

        Raises:
            CameraError: it gave none in time.
        """
        line = bytearray()
        deadline = self._deadline()
        while not line.endswith(b"\n"):
            line += self._receive(1, deadline)
        self._shape = FrameShape(**json.loads(line))

    def read(self) -> Image | None:
        """The next frame; see :class:`edge_agent.cameras.Camera`."""
        assert self._shape is not None
        shape = self._shape
        deadline = self._deadline()
        data = bytearray(shape.height * shape.stride)
        view, filled = memoryview(data), 0
        while filled < len(data):
            self._wait(deadline)
            count = os.readv(self._out, [view[filled:]])
            if count == 0:
                raise self._gone()
            filled += count
        self._first = False
        rows = np.frombuffer(data, np.uint8).reshape(shape.height, shape.stride)[:, : shape.width * 3]
        return rows.reshape(shape.height, shape.width, 3)

    def close(self) -> None:
        """End the child, by force if it does not go."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()

    def _deadline(self) -> float:
        return time.monotonic() + self._stall_s + (OPENING_S if self._first else 0.0)

    def _receive(self, size: int, deadline: float) -> bytes:
        self._wait(deadline)
        data = os.read(self._out, size)
        if not data:
            raise self._gone()
        return data

    def _wait(self, deadline: float) -> None:
        """Block until there is something to read, keeping the child's stderr from filling up."""
        while True:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise CameraStalledError(
                    f"{self._name}: no frame for {self._stall_s:.0f} s (stalled); it is opened again"
                )
            try:
                ready, _, _ = select.select([self._out], [], [], min(remaining, 1.0))
            except (OSError, ValueError):
                raise CameraError(f"{self._name}: closed while waiting for a frame") from None
            self._drain_stderr()
            if ready:
                return

    def _drain_stderr(self) -> None:
        if self._child.stderr is not None and not self._child.stderr.closed:
            self._complaint = (self._complaint + (self._child.stderr.read() or b""))[-4000:]

    def _gone(self) -> CameraError | MissingPackageError:
        """Why the child's output ended, without secrets: the page shows it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(KILL_AFTER_S)
        self._drain_stderr()
        lines = self._complaint.decode(errors="replace").strip().splitlines()
        reason = redact(self._cause(lines)) if lines else f"its process ended with code {self._child.returncode}"
        if self._child.returncode == MissingPackageError.exit_code:
            return MissingPackageError(reason)
        return CameraError(reason if reason.startswith(self._name) else f"{self._name}: {reason}")
