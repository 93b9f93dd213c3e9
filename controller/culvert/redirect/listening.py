"""How many proxy sockets really listen, asked of the kernel.

The programs keep this count themselves; this is the check on it, and the first value where the
proxy was there before the programs.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from pyroute2 import DiagSocket

from culvert.model.redirect import Address16, RedirectConfig, address16

_TCP_LISTEN = 10


def count_proxy_listeners(config: RedirectConfig, sockets: Iterable[tuple[Address16, int]]) -> int:
    """How many of ``sockets`` are the proxy's, by the rule that the programs use."""
    ports = set(config.listener_ports.values())
    addresses = {config.proxy4, config.proxy6}
    return sum(1 for address, port in sockets if port in ports and address in addresses)


def read_listening_sockets() -> list[tuple[Address16, int]]:
    """(local address, port in host order) of each TCP socket that listens in this namespace.

    By sock_diag(7), which looks at nothing but listening sockets. ``/proc/net/tcp`` walks the
    whole machine's table of connections: milliseconds in which a CPU does nothing else.

    Raises:
        OSError: the kernel has no inet_diag (pyroute2's ``NetlinkError`` is one).
    """
    with DiagSocket() as diag:
        diag.bind()
        return [
            (address16(entry["idiag_src"]), entry["idiag_sport"])
            for family in (socket.AF_INET, socket.AF_INET6)
            for entry in diag.get_sock_stats(family=family, states=1 << _TCP_LISTEN)
        ]


def read_proxy_listeners(config: RedirectConfig) -> int:
    """Ask the kernel, in the network namespace of this process."""
    return count_proxy_listeners(config, read_listening_sockets())
