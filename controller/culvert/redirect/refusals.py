"""Who was refused by pods that take mutual TLS only."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from culvert.model.redirect import Address16, address_text
from culvert.redirect.abi import RefusedKey


@dataclass(frozen=True, slots=True)
class Refusal:
    """``count`` connections from ``source`` to a port of the pod at ``address``, both as text."""

    source: str
    address: str
    port_host: int
    count: int


def decode_refusal(key: bytes, value: bytes) -> Refusal:
    """Read an entry of the map ``cv_refused``."""
    raw = RefusedKey.from_buffer_copy(key)
    return Refusal(
        address_text(Address16(bytes(raw.source))),
        address_text(Address16(bytes(raw.address))),
        socket.ntohs(raw.port_be),
        int.from_bytes(value, sys.byteorder),
    )


def most_refused(refusals: Iterable[Refusal], limit: int) -> tuple[list[Refusal], int]:
    """The ``limit`` with the highest counts, highest first, and the sum of the others' counts."""
    ordered = sorted(refusals, key=lambda one: (-one.count, one.source, one.address, one.port_host))
    return ordered[:limit], sum(one.count for one in ordered[limit:])
