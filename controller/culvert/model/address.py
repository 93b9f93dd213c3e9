"""IP addresses in text, read fast: a large world has hundreds of thousands of them.

All agree with ``ipaddress`` on what an address is and how it is written; the C library's
``inet_pton`` knows dotted quads by the same rules (RFC 6943 section 3.1.1: the strict form).
"""

from __future__ import annotations

from ipaddress import ip_address
from socket import AF_INET, inet_pton


def packed_address(text: str) -> bytes:
    """4 bytes of IPv4 or 16 of IPv6, in network order.

    Raises:
        ValueError: ``text`` is not an IPv4 or IPv6 address.
    """
    return _dotted_quad(text) or ip_address(text).packed


def canonical_address(text: str) -> str:
    """The address as it is usually written (RFC 5952 for IPv6).

    Raises:
        ValueError: ``text`` is not an IPv4 or IPv6 address.
    """
    return text if _dotted_quad(text) else str(ip_address(text))


def address_version(text: str) -> int:
    """4 or 6.

    Raises:
        ValueError: ``text`` is not an IPv4 or IPv6 address.
    """
    return 4 if _dotted_quad(text) else ip_address(text).version


def _dotted_quad(text: str) -> bytes | None:
    try:
        return inet_pton(AF_INET, text)
    except (OSError, ValueError):
        return None
