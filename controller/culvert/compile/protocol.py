"""What a Service port speaks, from what its owner wrote. Bytes are never sniffed.

``appProtocol`` wins over the port's name; its values are those of Kubernetes ("Application
protocol") and IANA service names, which ignore case. Anything else is opaque TCP: it works for
every protocol, servers that speak first included.
"""

from __future__ import annotations

from enum import Enum

from culvert.model.service import ServicePort


class Protocol(Enum):
    """How the proxy reads a connection."""

    HTTP = "http"
    """HTTP/1.1 or HTTP/2, whichever the client speaks, passed on as it came."""
    HTTP2 = "http2"
    """Endpoints speak HTTP/2 with prior knowledge."""
    TCP = "tcp"
    """Opaque bytes, TLS included."""

    @property
    def is_http(self) -> bool:
        """Whether requests are seen."""
        return self is not Protocol.TCP


_APP_PROTOCOLS = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "h2c": Protocol.HTTP2,
    "grpc": Protocol.HTTP2,
    "grpc-web": Protocol.HTTP,
    "ws": Protocol.HTTP,
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.TCP,
}
_NAME_PREFIXES = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.HTTP2,
    "tcp": Protocol.TCP,
}


def port_protocol(port: ServicePort) -> Protocol:
    """What a port speaks."""
    if port.app_protocol:
        return _APP_PROTOCOLS.get(port.app_protocol.lower(), Protocol.TCP)
    if port.name == "grpc-web" or port.name.startswith("grpc-web-"):
        return Protocol.HTTP
    return _NAME_PREFIXES.get(port.name.split("-", 1)[0], Protocol.TCP)


def is_unknown_reserved(app_protocol: str) -> bool:
    """Whether it is in the part of the name space that Kubernetes reserves, but not known."""
    value = app_protocol.lower()
    return value.startswith("kubernetes.io/") and value not in _APP_PROTOCOLS
