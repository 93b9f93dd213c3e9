"""Connections that the proxy has to pods of its node."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple


class Moment(Enum):
    """When in its life a connection is told of."""

    BEGINS = auto()
    LASTS = auto()
    ENDS = auto()


class LiveConnection(NamedTuple):
    """From the proxy's own end (``near``) to a pod.

    ``principal`` is the caller's SPIFFE ID, ``source_address`` its address; both empty where
    nothing is known. Ports are in host order.
    """

    near_address: str
    near_port_host: int
    pod_address: str
    pod_port_host: int
    principal: str
    source_address: str
    carries_requests: bool = False
    """HTTP, each request of which was judged by itself."""

    @property
    def socket(self) -> tuple[str, int, str, int]:
        """What tells it from all others at a time."""
        return self[:4]
