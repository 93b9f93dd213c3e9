"""HTTP over a Unix socket, for the agents' status and Envoy's admin interface."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path


class UnixConnection(http.client.HTTPConnection):
    """``http.client`` to a Unix socket."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def fetch(
    path: Path, target: str, *, method: str = "GET", timeout_seconds: float = 5.0
) -> tuple[int, bytes]:
    """(status, body).

    Raises:
        OSError: nobody answers there.
    """
    connection = UnixConnection(path, timeout_seconds)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{path}: {error!r}") from error
    finally:
        connection.close()
