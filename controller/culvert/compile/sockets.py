"""Socket addresses and options as the proxy's configuration has them."""

from __future__ import annotations

from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.socket_option_pb2 import SocketOption

# Linux socket options, inherited by accepted sockets: a client that vanishes is noticed after
# about two and a half minutes. Envoy has no keepalive field for listeners.
_SOL_SOCKET, _SO_KEEPALIVE = 1, 9
_IPPROTO_TCP, _TCP_KEEPIDLE, _TCP_KEEPINTVL, _TCP_KEEPCNT = 6, 4, 5, 6
_KEEPALIVE = (
    (_SOL_SOCKET, _SO_KEEPALIVE, 1),
    (_IPPROTO_TCP, _TCP_KEEPIDLE, 60),
    (_IPPROTO_TCP, _TCP_KEEPINTVL, 15),
    (_IPPROTO_TCP, _TCP_KEEPCNT, 6),
)

KEEPALIVE = tuple(
    SocketOption(level=level, name=name, int_value=value, state=SocketOption.STATE_PREBIND)
    for level, name, value in _KEEPALIVE
)
"""Options of a listener."""


def socket_address(address: str, port_host: int) -> Address:
    """An IP address and port."""
    return Address(socket_address=SocketAddress(address=address, port_value=port_host))
