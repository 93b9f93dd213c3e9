"""A server for HTTP that keeps every byte that it was sent."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from culvert.rig import Pod
from culvert.rig.workloads.http1 import BadMessageError, Message, MessageReader


class Recorder:
    """Listens in a pod until closed; answers 200 to what it reads as a request."""

    def __init__(self, pod: Pod, port_host: int) -> None:
        self._listener = pod.listen(("0.0.0.0", port_host))
        self._lock = threading.Lock()
        self._bytes: list[bytearray] = []
        self._requests: list[Message] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def taken(self) -> tuple[bytes, list[Message]]:
        """All bytes since the last call, and the requests that they are to a server."""
        with self._lock:
            found = b"".join(self._bytes), self._requests
            for one in self._bytes:
                one.clear()
            self._requests = []
        return found

    def close(self) -> None:
        """Listen no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        kept = bytearray()
        with self._lock:
            self._bytes.append(kept)
        reader = MessageReader(responses=False)
        with connection, suppress(OSError, BadMessageError):
            while data := connection.recv(65536):
                with self._lock:
                    kept += data
                requests = reader.feed(data)
                with self._lock:
                    self._requests += requests
                for _ in requests:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
