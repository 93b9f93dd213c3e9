"""What the kernel must know to capture and to accelerate: the values behind the BPF maps.

Addresses are 16 bytes in network order, IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), so
one map serves both families. Ports are integers in host order; the ABI layer swaps them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from ipaddress import IPv6Address
from typing import NamedTuple, NewType

from culvert.model.address import packed_address

Address16 = NewType("Address16", bytes)
"""16 bytes, network order; IPv4 as ``::ffff:a.b.c.d``."""

ANY_PORT = 0
"""In a ``DestinationKey``: every port of the address that has no entry of its own."""

_IPV4_MAPPED = bytes(10) + b"\xff\xff"


def address16(text: str) -> Address16:
    """Pack an address for the maps.

    Raises:
        ValueError: ``text`` is not an IPv4 or IPv6 address.
    """
    packed = packed_address(text)
    return Address16(_IPV4_MAPPED + packed if len(packed) == 4 else packed)


def address_text(packed: Address16) -> str:
    """Unpack an address of the maps; IPv4-mapped ones come back as IPv4."""
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)


class ProxyListener(IntEnum):
    """Which listener of the node proxy takes a destination; also the index of its port."""

    DIRECT = 0
    """None: the connection is left alone."""
    SERVICE_HTTP = 1
    """A Service port that speaks HTTP: routed by scoped routes on the original destination."""
    SERVICE_TCP = 2
    """A Service port of opaque TCP: the cluster is named after the original destination."""
    POD_HTTP = 3
    """A pod address that speaks HTTP: goes to exactly that address."""
    POD_TCP = 4
    """A pod address of opaque TCP: goes to exactly that address."""
    POD_MESH = 5
    """The address of another node's pod: goes there by mutual TLS."""
    POD_LOCAL_TCP = 6
    """The address of a pod of this node that has policies, an opaque port."""
    POD_LOCAL_HTTP = 7
    """The same, a port that speaks HTTP."""


class DestinationFlag(IntFlag):
    """Per-destination settings."""

    NONE = 0
    FAIL_OPEN = 1
    """With no proxy listening, connect directly instead of being refused."""


class PodFlag(IntFlag):
    """Per-pod settings."""

    NONE = 0
    CAPTURED = 1
    """Outgoing connections to known destinations go to the node proxy."""
    FAIL_OPEN = 2
    """As ``DestinationFlag.FAIL_OPEN``, for every destination of this pod."""


class LocalFlag(IntFlag):
    """Settings of an address on this node."""

    NONE = 0
    ACCELERATED = 1
    """Connections between two such addresses may use the sockhash."""
    PROXY_SOURCE = 2
    """An address of the node: the proxy connects from it, but whoever answers there is no pod."""


class DestinationKey(NamedTuple):
    """A destination as the application asks for it. ``port_host`` may be ``ANY_PORT``."""

    address: Address16
    port_host: int


@dataclass(frozen=True, slots=True)
class Destination:
    """Where connections to a ``DestinationKey`` go."""

    listener: ProxyListener
    flags: DestinationFlag = DestinationFlag.NONE


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod on this node, found by its cgroup v2 id (the inode number of its directory).

    ``addresses`` are the pod's own (at most one per family): calls to itself are not captured.
    ``excluded_cidrs`` holds (network address, prefix length in bits of the 128-bit form).
    ``identity_number`` stands for the pod's identity on this node, 1 to 65535; 0: it has none.
    """

    flags: PodFlag
    addresses: tuple[Address16, ...] = ()
    excluded_ports: frozenset[int] = frozenset()
    excluded_cidrs: frozenset[tuple[Address16, int]] = frozenset()
    identity_number: int = 0


ANY_POD = 0
"""In ``RedirectTable.strict_pods``: every pod that has no entry of its own."""

STRICT_ENTRIES_MAX = 16384
"""Room for ``RedirectTable.strict`` in the kernel."""


@dataclass(frozen=True, slots=True)
class RedirectTable:
    """Everything the redirect maps of one node must hold.

    ``pods`` is keyed by cgroup id; ``local`` by the addresses that live on this node (its pods
    and the proxy itself): a socket is enrolled only when both its ends are in it. ``strict`` is
    true where a pod of this node takes mutual TLS only; the most specific entry counts.
    ``strict_pods`` tells the same of all ports together, by cgroup id: it counts at addresses that
    ``strict`` has no entry for, and has ``ANY_POD`` and every pod of the node, or nothing.
    """

    destinations: dict[DestinationKey, Destination] = field(default_factory=dict)
    pods: dict[int, Pod] = field(default_factory=dict)
    local: dict[Address16, LocalFlag] = field(default_factory=dict)
    strict: dict[DestinationKey, bool] = field(default_factory=dict)
    strict_pods: dict[int, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RedirectConfig:
    """Settings of the node's data path, one per node.

    ``budget_bytes`` bounds what a receiver may have queued before sends to it go by TCP;
    sends larger than ``max_redirect_bytes`` always do. ``pod_levels`` are the first and last level
    of the cgroup tree (root = 0) at which a pod's directory may be. With ``identity`` the proxy is
    shown the caller's identity number in the place of its port, for captured connections and for no
    others; a number of 0 is nobody's. ``node_netns_cookie`` is that of the node's own network
    namespace (``SO_NETNS_COOKIE``); with 0 a pod that takes mutual TLS only takes no connection of
    its node.
    """

    proxy4: Address16 | None
    proxy6: Address16 | None
    listener_ports: dict[ProxyListener, int]
    accelerate: bool
    budget_bytes: int = 4 << 20
    max_redirect_bytes: int = 1 << 30
    pod_levels: tuple[int, int] = (1, 6)
    identity: bool = False
    node_netns_cookie: int = 0
