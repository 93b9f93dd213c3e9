"""Every name and address of a rig, derived from the rig's id and small numbers; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

NETNS_PREFIX = "cv-"
"""All network namespaces of all rigs are named ``cv-<rig id>-…``."""

CGROUP_PREFIX = "culvert-"
"""The cgroup of a rig is ``<cgroup v2 mount>/culvert-<rig id>``."""

MAX_NODES = 250
MAX_PODS_PER_NODE = 254

GATEWAY_MAC = "02:cb:00:00:00:01"
"""The node's end of every pod link: links are point to point, so one address serves them all."""

POD_MAC = "02:cb:00:00:00:02"

GATEWAY4 = "169.254.1.1"
GATEWAY6 = "fe80::1"
FABRIC4 = "10.99.0.254"
FABRIC6 = "fd99::fe"

_RIG_ID = re.compile(r"[a-z0-9]{1,12}")
_NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


def check_rig_id(rig_id: str) -> str:
    """Return ``rig_id`` if names of kernel objects can be made from it.

    Raises:
        ValueError: it is not 1 to 12 lower-case letters and digits.
    """
    if not _RIG_ID.fullmatch(rig_id):
        raise ValueError(f"rig id {rig_id!r}: use 1 to 12 lower-case letters and digits")
    return rig_id


def check_node_name(name: str) -> str:
    """Return ``name`` if it can name a node (RFC 1123 subdomain, at most 63 characters).

    Raises:
        ValueError: it cannot, or it is the name kept for the fabric.
    """
    if not _NODE_NAME.fullmatch(name):
        raise ValueError(f"node name {name!r}: use lower-case letters, digits, '-' and '.'")
    if name == "fabric":
        raise ValueError("node name 'fabric' is taken by the network between the nodes")
    return name


def netns_name(rig_id: str, *parts: str) -> str:
    """Name a network namespace of a rig."""
    return "-".join((f"{NETNS_PREFIX}{rig_id}", *parts))


@dataclass(frozen=True, slots=True)
class NodeAddresses:
    """The addresses of node number ``index`` (1 to ``MAX_NODES``)."""

    index: int

    @property
    def ipv4(self) -> str:
        """On the fabric, in 10.99.0.0/24."""
        return f"10.99.0.{self.index}"

    @property
    def ipv6(self) -> str:
        """On the fabric, in fd99::/64."""
        return f"fd99::{self.index:x}"

    @property
    def pod_cidr4(self) -> str:
        """The /24 its pods take their addresses from."""
        return f"10.244.{self.index}.0/24"

    @property
    def pod_cidr6(self) -> str:
        """The /64 its pods take their addresses from."""
        return f"fd00:10:244:{self.index:x}::/64"

    def pod(self, number: int) -> PodAddresses:
        """Return the addresses of its pod ``number`` (1 to ``MAX_PODS_PER_NODE``)."""
        return PodAddresses(
            ipv4=f"10.244.{self.index}.{number}",
            ipv6=f"fd00:10:244:{self.index:x}::{number:x}",
        )


@dataclass(frozen=True, slots=True)
class PodAddresses:
    """The two addresses of a pod."""

    ipv4: str
    ipv6: str


class NumberPool:
    """Hands out numbers 1..``size``, the longest unused first.

    An address that was just given back is not the next one handed out, so that a connection to a
    pod that is gone does not meet another pod.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._last = 0
        self._taken: set[int] = set()

    def take(self, wanted: int | None = None) -> int:
        """Take a free number, or the one that is ``wanted``.

        Raises:
            RuntimeError: all are taken.
            ValueError: the wanted one is.
        """
        if wanted is not None:
            if wanted in self._taken or not 1 <= wanted <= self._size:
                raise ValueError(f"number {wanted} is not free")
            self._taken.add(wanted)
            return wanted
        for step in range(1, self._size + 1):
            number = (self._last + step - 1) % self._size + 1
            if number not in self._taken:
                self._taken.add(number)
                self._last = number
                return number
        raise RuntimeError(f"all {self._size} addresses are taken")

    def give_back(self, number: int) -> None:
        """Return a number; returning one that is not taken changes nothing."""
        self._taken.discard(number)
