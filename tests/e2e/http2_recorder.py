"""A server for HTTP/2 in plain text that keeps the headers of each request, and a client for it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from culvert.rig import Pod
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, RequestReceived, ResponseReceived, StreamReset
from h2.exceptions import ProtocolError

Headers = list[tuple[str, str]]


def _connection(*, is_client: bool) -> H2Connection:
    """One that neither mends nor refuses anything."""
    made = H2Connection(
        H2Configuration(
            client_side=is_client,
            header_encoding="utf-8",
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    made.initiate_connection()
    return made


class Http2Recorder:
    """Listens in a pod until closed; answers 200 to everything."""

    def __init__(self, pod: Pod, port_host: int) -> None:
        self._listener = pod.listen(("0.0.0.0", port_host))
        self._lock = threading.Lock()
        self._requests: list[Headers] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def taken(self) -> list[Headers]:
        """The requests since the last call."""
        with self._lock:
            found, self._requests = self._requests, []
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
        h2 = _connection(is_client=False)
        with connection, suppress(OSError, ProtocolError):
            connection.sendall(h2.data_to_send())
            while data := connection.recv(65536):
                for event in h2.receive_data(data):
                    if isinstance(event, RequestReceived):
                        with self._lock:
                            self._requests.append(list(event.headers))
                        h2.send_headers(event.stream_id, [(":status", "200")], end_stream=True)
                connection.sendall(h2.data_to_send())


def status_of(connection: socket.socket, headers: Headers) -> int | None:
    """Of the answer to a request without a body; None where its stream or connection was ended."""
    h2 = _connection(is_client=True)
    h2.send_headers(1, headers, end_stream=True)
    connection.settimeout(20)
    with connection, suppress(ConnectionError):
        connection.sendall(h2.data_to_send())
        while data := connection.recv(65536):
            for event in h2.receive_data(data):
                if isinstance(event, ResponseReceived):
                    return int(dict(event.headers)[":status"])
                if isinstance(event, StreamReset | ConnectionTerminated):
                    return None
            connection.sendall(h2.data_to_send())
    return None
