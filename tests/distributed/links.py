"""A link between two processes that can be cut."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress


class Link:
    """Carries bytes between a port of its own and another one of this machine."""

    def __init__(self, target: int):
        self._target = target
        self._ends: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]

    def __enter__(self) -> Link:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._server.close()

    def cut(self) -> None:
        """Close what is connected."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = self._reached()
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _reached(self) -> socket.socket:
        """A connection to the target, which may not listen yet."""
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                time.sleep(0.1)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        self.cut()
