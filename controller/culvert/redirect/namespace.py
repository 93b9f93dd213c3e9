"""The network namespace of this process, as BPF programs know it."""

from __future__ import annotations

import errno
import socket
import sys

_SO_NETNS_COOKIE = 71
"""``asm-generic/socket.h``."""


def network_namespace_cookie() -> int:
    """The namespace's cookie, which no other ever has; 0 on a kernel before 5.14.

    Raises:
        OSError: no socket can be made.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            return int.from_bytes(
                asked.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder
            )
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            return 0
