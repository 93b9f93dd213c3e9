"""How many proxy sockets really listen, from the kernel's socket table.

The programs keep this count themselves; this is the check on it, and the first value where the
proxy was there before the programs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

from culvert.model.redirect import Address16, RedirectConfig

_STATE_LISTEN = "0A"
TABLES = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))


def listening_sockets(lines: Iterable[str]) -> list[tuple[Address16, int]]:
    """(local address, port in host order) of each listening socket of ``/proc/net/tcp{,6}``.

    The address is printed as 32-bit words in host byte order (proc_net_tcp.rst).
    """
    found = []
    for line in lines:
        fields = line.split()
        if len(fields) < 4 or fields[3] != _STATE_LISTEN:
            continue
        text, _, port = fields[1].partition(":")
        words = [int(text[index : index + 8], 16) for index in range(0, len(text), 8)]
        packed = struct.pack(f"={len(words)}I", *words)
        if len(words) == 1:
            packed = bytes(10) + b"\xff\xff" + packed
        found.append((Address16(packed), int(port, 16)))
    return found


def count_proxy_listeners(config: RedirectConfig, sockets: Iterable[tuple[Address16, int]]) -> int:
    """How many of ``sockets`` are the proxy's, by the rule that the programs use."""
    ports = set(config.listener_ports.values())
    addresses = {config.proxy4, config.proxy6}
    return sum(1 for address, port in sockets if port in ports and address in addresses)


def read_proxy_listeners(config: RedirectConfig) -> int:
    """Ask the kernel, in the network namespace of this process."""
    sockets: list[tuple[Address16, int]] = []
    for table in TABLES:
        if table.exists():
            sockets += listening_sockets(table.read_text().splitlines()[1:])
    return count_proxy_listeners(config, sockets)
