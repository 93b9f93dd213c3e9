"""A program that writes down every TCP payload that passes a network namespace's interfaces.

Until it is told to end: then it writes to its standard output, one payload a line, in hexadecimal.
"""

from __future__ import annotations

import signal
import socket
import struct
import sys

_ALL = 0x0003
_IPV4, _IPV6, _TCP = 0x0800, 0x86DD, 6


def payload(frame: bytes) -> bytes:
    """The TCP payload of an Ethernet frame, empty where there is none."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == _IPV4 and frame[23] == _TCP:
        start = 14 + (frame[14] & 15) * 4
        end = 14 + struct.unpack_from("!H", frame, 16)[0]
    elif kind == _IPV6 and frame[20] == _TCP:
        start = 54
        end = 54 + struct.unpack_from("!H", frame, 18)[0]
    else:
        return b""
    return frame[start + (frame[start + 12] >> 4) * 4 : end]


def main() -> None:
    """Capture on the interface that the first argument names."""
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
    raw.bind((sys.argv[1], 0))
    raw.settimeout(0.2)
    print("ready", flush=True)
    while True:
        try:
            data = payload(raw.recv(1 << 16))
        except TimeoutError:
            if ended:
                return
            continue
        if data:
            print(data.hex())


if __name__ == "__main__":
    main()
