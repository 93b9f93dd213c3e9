"""What an attacker has: certificates of all kinds, and a client that asks a node's tunnel port.

The client says in the tunnel what it is told to, whether or not HTTP/2 allows it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from culvert.compile.tls import server_name_of
from culvert.identity.client import SocketIssuer
from culvert.identity.x509 import key_pem, make_request, new_key
from culvert.model.identity import Identity
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset

TUNNEL_PORT = 15008
_SECONDS = 10.0

Headers = Iterable[tuple[str, str]]


def spiffe_id(account: str, trust_domain: str = "cluster.local") -> str:
    """Of a service account in the namespace ``default``."""
    return f"spiffe://{trust_domain}/ns/default/sa/{account}"


@dataclass(frozen=True, repr=False)
class Credentials:
    """A certificate with those above it, and its key; PEM."""

    chain: bytes
    key: bytes


def issued(socket_path: Path, account: str) -> Credentials:
    """A certificate that the mesh's authority gives to the node of ``socket_path``.

    Raises:
        IssuerError: it does not.
    """
    key = new_key()
    identity = Identity("cluster.local", "default", account)
    answer = asyncio.run(SocketIssuer(socket_path).issue(identity, make_request(key)))
    return Credentials(answer.chain.encode(), key_pem(key))


def tls_context(role: int, credentials: Credentials | None) -> ssl.SSLContext:
    """Of a client or a server that believes everybody."""
    context = ssl.SSLContext(role)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if credentials is not None:
        with NamedTemporaryFile() as file:
            file.write(credentials.chain + credentials.key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


@dataclass(frozen=True)
class Answer:
    """``status`` is None where there was none: the stream or the connection ended before."""

    status: int | None
    data: bytes = b""
    ended: str = ""


def ask(
    connection: socket.socket,
    credentials: Credentials | None,
    presented: str,
    headers: Headers,
    data: bytes = b"",
) -> Answer:
    """Send a request to a tunnel port, and return what comes before silence or the end.

    ``presented`` is the SPIFFE ID that the other end is asked to present. The connection is closed.
    """
    connection.settimeout(_SECONDS)
    context = tls_context(ssl.PROTOCOL_TLS_CLIENT, credentials)
    try:
        with context.wrap_socket(connection, server_hostname=server_name_of(presented)) as wrapped:
            return _converse(wrapped, headers, data)
    except (ssl.SSLError, OSError) as error:
        return Answer(None, ended=str(error))


def _converse(wrapped: ssl.SSLSocket, headers: Headers, data: bytes) -> Answer:
    h2 = H2Connection(
        H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    h2.initiate_connection()
    h2.send_headers(1, list(headers))
    if data:
        h2.send_data(1, data)
    wrapped.sendall(h2.data_to_send())
    status: int | None = None
    received = b""
    while chunk := wrapped.recv(65536):
        for event in h2.receive_data(chunk):
            if isinstance(event, ResponseReceived):
                status = int(dict(event.headers)[":status"])
            elif isinstance(event, DataReceived):
                received += event.data
                # The greeting, or the answer to what was sent.
                if received.endswith(b"\n"):
                    return Answer(status, received)
            elif isinstance(event, StreamReset):
                return Answer(status, received, f"reset: {ErrorCodes(event.error_code).name}")
            elif isinstance(event, StreamEnded):
                return Answer(status, received, "end of stream")
        wrapped.sendall(h2.data_to_send())
    return Answer(status, received, "end of connection")


def connect_headers(authority: str, *others: tuple[str, str]) -> list[tuple[str, str]]:
    """As the proxies of the mesh ask for a connection."""
    return [(":method", "CONNECT"), (":authority", authority), *others]
