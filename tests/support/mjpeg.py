"""A network camera as many sell it: MJPEG over HTTP, which can stall, vanish and come back."""

from __future__ import annotations

import http.server
import itertools
import socket
import threading
import time

import cv2
import numpy as np

from tests.support.faces import astronaut_bgr


class MjpegCamera:
    """Serves a scene, by default ``astronaut()``, with a sensor's noise while started. ``pictures`` may be changed."""

    def __init__(self, port: int, fps: float = 20.0, scene: np.ndarray | None = None) -> None:
        self.fps = fps
        self.url = f"http://127.0.0.1:{port}/"
        self.silent = threading.Event()
        self._port = port
        self.pictures = noisy(astronaut_bgr() if scene is None else scene)
        self._clients: list[socket.socket] = []
        self._server: http.server.ThreadingHTTPServer | None = None

    def start(self) -> MjpegCamera:
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera._clients.append(self.connection)
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    for number in itertools.count():
                        if camera._server is None:
                            break
                        if not camera.silent.is_set():
                            jpeg = camera.pictures[number % len(camera.pictures)]
                            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                            self.wfile.write(head.encode() + jpeg + b"\r\n")
                        time.sleep(1.0 / camera.fps)
                except OSError:
                    return

            def log_message(self, *_args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        for client in self._clients:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._clients.clear()


def noisy(image: np.ndarray, count: int = 8) -> list[bytes]:
    """JPEGs of one scene as a sensor sees it, no two the same."""
    random = np.random.default_rng(1)
    noise = random.normal(0, 2, (count, *image.shape))
    return [cv2.imencode(".jpg", np.clip(image + each, 0, 255).astype(np.uint8))[1].tobytes() for each in noise]
