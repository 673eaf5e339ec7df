"""The camera's live picture for whoever sets the device up, with what the gate says of each face.

The only place where a picture is shown to anybody: to one browser, for ten minutes, and only in memory.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.cameras.capture import LatestFrame
from edge_agent.first_start.answers import CameraAnswer
from edge_agent.host.redaction import redact
from edge_agent.types import CameraState
from edge_agent.vision.inspection import Inspector

SHOWN_S = 600.0
"""Seconds from the first picture to the last."""
UNWATCHED_S = 10.0
"""After this long without a look the camera is closed, and its light goes out."""
LOOKS_PER_S = 5.0
FRAME_S = 2.0
"""Longest wait for a frame."""
LONGER_PX = 640
"""Of the picture that is sent."""
JPEG_QUALITY = 80


class Looking:
    """One camera at a time, opened while somebody looks.

    Args:
        make_inspector: loads what judges the faces; called with the first picture.
        now_s: a monotonic clock, in seconds.
    """

    def __init__(self, make_inspector: Callable[[], Inspector], now_s: Callable[[], float] = time.monotonic) -> None:
        self._make_inspector, self._now_s = make_inspector, now_s
        self._inspector: Inspector | None = None
        self._lock = threading.Lock()
        self._capture: LatestFrame | None = None
        self._camera: CameraAnswer | None = None
        self._problem = ""
        self._began_s: float | None = None
        self._looked_s = 0.0

    def look(self, camera: CameraAnswer) -> dict[str, Any]:
        """One picture of this camera as the page takes it; blocks for up to :data:`FRAME_S`."""
        with self._lock:
            now_s = self._now_s()
            self._began_s = now_s if self._began_s is None else self._began_s
            left_s = self._began_s + SHOWN_S - now_s
            if left_s <= 0:
                self._close()
                return _answer("over", 0.0)
            if camera != self._camera:
                self._close()
            capture = self._capture or self._open(camera)
            frame = capture.get(FRAME_S)
            self._looked_s = self._now_s()
            if frame is None:
                problem = str(capture.failure) if capture.failure is not None else self._problem
                return _answer("none" if problem else "opening", left_s, detail=redact(problem))
            return self._seen(frame.image, left_s)

    def rest(self) -> None:
        """Close the camera if nobody has looked for a while; does not wait for a look."""
        if self._now_s() - self._looked_s > UNWATCHED_S and self._lock.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._lock.release()

    @property
    def is_open(self) -> bool:
        """Whether the camera is open."""
        return self._capture is not None

    def stop(self) -> None:
        """Close the camera."""
        with self._lock:
            self._close()

    def _open(self, camera: CameraAnswer) -> LatestFrame:
        self._camera, self._problem = camera, ""
        capture = self._capture = LatestFrame(camera.config(), self._changed, looks_per_s=LOOKS_PER_S)
        capture.start()
        return capture

    def _changed(self, _state: CameraState, detail: str) -> None:
        self._problem = detail

    def _close(self) -> None:
        capture, self._capture, self._camera = self._capture, None, None
        if capture is not None:
            capture.stop()

    def _seen(self, image: NDArray[np.uint8], left_s: float) -> dict[str, Any]:
        if self._inspector is None:
            self._inspector = self._make_inspector()
        seen = self._inspector.inspect(image)
        height, width = image.shape[:2]
        scale = min(1.0, LONGER_PX / max(height, width))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        faces = [
            {
                "box": [round(value, 1) for value in (face.box.x, face.box.y, face.box.width, face.box.height)],
                "size_px": round(min(face.box.width, face.box.height)),
                "reason": face.reason,
            }
            for face in seen.faces
        ]
        rotates = None if seen.trouble is None else seen.trouble.rotates_by_deg
        return _answer(
            "seen", left_s, picture=base64.b64encode(jpeg.tobytes()).decode("ascii"), width=width, height=height,
            faces=faces, rotates_by_deg=rotates,
        )  # fmt: skip


def _answer(state: str, left_s: float, **more: Any) -> dict[str, Any]:
    return {"state": state, "left_s": round(left_s), **more}
