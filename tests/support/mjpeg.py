"""A network camera as many sell it: MJPEG over HTTP, which can stall, vanish and come back."""

from __future__ import annotations

import http.server
import socket
import threading
import time

import cv2

from tests.support.faces import astronaut_bgr


class MjpegCamera:
    """Serves ``astronaut()`` at 20 frames a second while started."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.silent = threading.Event()
        self._port = port
        self._jpeg = cv2.imencode(".jpg", astronaut_bgr())[1].tobytes()
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
                    while camera._server is not None:
                        if not camera.silent.is_set():
                            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(camera._jpeg)}\r\n\r\n"
                            self.wfile.write(head.encode() + camera._jpeg + b"\r\n")
                        time.sleep(0.05)
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
