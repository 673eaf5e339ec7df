"""A TCP proxy in front of the broker that breaks links in the ways that networks do."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType

CONNACK, PUBACK = 2, 4


class FaultProxy:
    """Switches to set while it runs: ``blackhole``, ``drop_pubacks``, ``connack_delay_s``; ``cut()`` ends all links."""

    def __init__(self, broker_port: int) -> None:
        self.blackhole = False
        self.drop_pubacks = False
        self.connack_delay_s = 0.0
        self.links = 0
        self._broker_port = broker_port
        self._lock = threading.Lock()
        self._open: list[tuple[list[socket.socket], list[threading.Thread]]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every link, as a router that restarts does."""
        with self._lock:
            links, self._open = self._open, []
        for sockets, threads in links:
            _shut(sockets)
            for thread in threads:
                thread.join()
            for each in sockets:
                each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(("127.0.0.1", self._broker_port))
            except OSError:
                client.close()
                continue
            pumps = [
                threading.Thread(target=self._pump, args=(client, broker, False), daemon=True),
                threading.Thread(target=self._pump, args=(broker, client, True), daemon=True),
            ]
            self.links += 1
            with self._lock:
                self._open.append(([client, broker], pumps))
                for pump in pumps:
                    pump.start()

    def _pump(self, source: socket.socket, target: socket.socket, from_broker: bool) -> None:
        with contextlib.suppress(OSError):
            for packet in _packets(source):
                kind = packet[0] >> 4
                if from_broker and kind == CONNACK:
                    time.sleep(self.connack_delay_s)
                if self.blackhole:  # the link stands, and nothing comes through, ever
                    continue
                if not (from_broker and kind == PUBACK and self.drop_pubacks):
                    target.sendall(packet)
        _shut([source, target])


def _shut(sockets: list[socket.socket]) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _packets(source: socket.socket) -> Iterator[bytes]:
    """Whole MQTT packets (MQTT 5, section 2.1: type and flags, remaining length as a varint, the rest)."""
    with source.makefile("rb") as stream:
        while first := stream.read(1):
            length, shift, header = 0, 0, first
            while byte := stream.read(1):
                header += byte
                length |= (byte[0] & 127) << shift
                shift += 7
                if byte[0] < 128:
                    break
            yield header + stream.read(length)
