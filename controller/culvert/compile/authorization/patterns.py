"""Values of rules: exact, ``prefix*``, ``*suffix``, or ``*`` for anything that is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network

AMBIGUOUS_PATH = (
    r"//|\\|/\.\.?(/|$)|;"
    r"|%(00|25|2[dDeEfF]|3[0-9bB]|4[1-9a-fA-F]|5[0-9aAcCfF]|6[1-9a-fA-F]|7[0-9aAeE])"
)
"""A part of a path (RE2 and Python alike) that servers read in different ways.

Empty and dot segments, backslashes, path parameters, and characters that need no escape but have
one (RFC 3986, 2.3 and 6.2.2). The mesh passes them on as they are.
"""

_AMBIGUOUS_PATH = re.compile(AMBIGUOUS_PATH)


def is_ambiguous(path: str) -> bool:
    """Whether the server may take a path, without its query, for another one."""
    return _AMBIGUOUS_PATH.search(path) is not None


def matches(pattern: str, value: str) -> bool:
    """Whether a value fits; an empty one is not there, and fits nothing."""
    if not value:
        return False
    if pattern == "*":
        return True
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return value == pattern


def matches_host(pattern: str, host: str) -> bool:
    """As ``matches``, whatever the case (RFC 9110, 4.2.3), with the host's port or without it."""
    host, pattern = host.lower(), pattern.lower()
    name, colon, port = host.rpartition(":")
    has_port = colon and port.isdecimal()
    return matches(pattern, host) or bool(has_port and matches(pattern, name))


def holds(network: str, address: str) -> bool:
    """Whether a network, or a single address, has the address in it."""
    return bool(address) and ip_address(address) in ip_network(network, strict=False)


def any_of(patterns: Iterable[str], value: str, fits: Callable[[str, str], bool] = matches) -> bool:
    """Whether a value fits one of the patterns."""
    return any(fits(pattern, value) for pattern in patterns)
