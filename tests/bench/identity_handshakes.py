"""How many TLS connections a proxy takes each second, certificates of both ends checked."""

from __future__ import annotations

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from culvert.compile.tls import server_name_of
from culvert.rig import netns

from tests.bench.identity_scene import MUTUAL, SIDECARS, THERE, IdentityScene
from tests.bench.scene import HTTP
from tests.e2e.attacker import TUNNEL_PORT, Credentials, issued, spiffe_id, tls_context
from tests.e2e.town import SERVER_PORT

_THREADS = 2
_TIMEOUT_SECONDS = 10.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""With empty settings (RFC 9113, 3.4)."""
_REQUEST = b"GET /1024 HTTP/1.1\r\nHost: server\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Door:
    """Where to knock: from a namespace, at an address, for a server name."""

    place: Path
    address: str
    port: int
    server_name: str
    context: ssl.SSLContext
    request: bytes

    def knock(self) -> None:
        """One handshake; waits for a byte, so that the other end has finished it too."""
        with netns.entered(self.place):
            plain = socket.socket()
        plain.settimeout(_TIMEOUT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.connect((self.address, self.port))
        with plain, self.context.wrap_socket(plain, server_hostname=self.server_name) as wrapped:
            wrapped.sendall(self.request)
            wrapped.recv(1)


def doors(scene: IdentityScene) -> dict[str, Door]:
    """One for each way that has TLS."""
    town = scene.mutual
    sidecar = scene.plain.pods[f"{SIDECARS}-{THERE}-{HTTP}"]
    mine = Credentials(*scene.certificates.issue("client"))
    node = town.mesh.nodes["node-a"]
    return {
        SIDECARS: Door(
            scene.plain.rig.nodes["bare-a"].netns,
            sidecar.ipv4,
            SERVER_PORT,
            "server",
            tls_context(ssl.PROTOCOL_TLS_CLIENT, mine),
            _REQUEST,
        ),
        MUTUAL: Door(
            town.rig.nodes["node-a"].netns,
            town.rig.nodes["node-b"].addresses.ipv4,
            TUNNEL_PORT,
            server_name_of(spiffe_id("server")),
            tls_context(ssl.PROTOCOL_TLS_CLIENT, issued(node.ca_socket, "client")),
            _PREFACE,
        ),
    }


def handshakes_per_second(door: Door, seconds: float) -> float:
    """Knock as often as it goes, two at a time."""
    end = time.monotonic() + seconds

    def knock(_: int) -> int:
        count = 0
        while time.monotonic() < end:
            door.knock()
            count += 1
        return count

    with ThreadPoolExecutor(_THREADS) as pool:
        return sum(pool.map(knock, range(_THREADS))) / seconds
