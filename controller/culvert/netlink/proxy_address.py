"""The addresses at which pods reach the node's proxy: on the node's loopback device.

A pod has a loopback of its own, so 127.0.0.1 will not do; an address on ``lo`` is reached over the
pod's default route and never leaves the node.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from pyroute2 import IPRoute

_LOOPBACK = "lo"


def missing_addresses(have: Iterable[str], want: Iterable[str]) -> list[str]:
    """Those of ``want`` that are not in ``have``, compared as addresses, not as text."""
    present = {ip_address(text) for text in have}
    return [text for text in want if ip_address(text) not in present]


def ensure_proxy_addresses(addresses: Iterable[str]) -> list[str]:
    """Add what is missing on ``lo`` of this network namespace; returns what was added.

    Raises:
        OSError: not permitted (pyroute2's ``NetlinkError`` is one).
    """
    with IPRoute() as netlink:
        index = netlink.link_lookup(ifname=_LOOPBACK)[0]
        have = [str(entry.get("address")) for entry in netlink.get_addr(index=index)]
        added = missing_addresses(have, addresses)
        for text in added:
            bits = ip_address(text).max_prefixlen
            netlink.addr("add", index=index, address=text, prefixlen=bits)
    return added
