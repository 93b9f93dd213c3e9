"""Make sockets inside a pod on request; run as a program in the pod's namespace and cgroup.

A socket's cgroup is that of the process which makes it, and the connect hooks look at the process
that connects. So the program does both, and hands the finished socket over its standard input, a
Unix socket (SCM_RIGHTS, see unix(7)). One request is one JSON line; one answer is one JSON
document, with one descriptor when it is a success, and then a byte once the program has closed its
own. Imports nothing of the package, to start fast.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any


def make(request: dict[str, Any]) -> socket.socket:
    """Make the socket a request asks for.

    Raises:
        OSError: as the socket calls do.
    """
    made = socket.socket(request["family"], request["type"])
    try:
        if request["timeout_seconds"] is not None:
            made.settimeout(request["timeout_seconds"])
        if request["listen"] is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if request["bind"] is not None:
            made.bind(tuple(request["bind"]))
        if request["listen"] is not None:
            made.listen(request["listen"])
        if request["connect"] is not None:
            made.connect(tuple(request["connect"]))
    except BaseException:
        made.close()
        raise
    # The flag belongs to the open file, which the receiver shares.
    made.setblocking(True)
    return made


def serve(channel: socket.socket) -> None:
    """Answer requests until the other side closes."""
    with channel.makefile("rb") as lines:
        for line in lines:
            try:
                made = make(json.loads(line))
            except OSError as error:
                text = json.dumps(
                    {"errno": error.errno, "timeout": isinstance(error, TimeoutError)}
                )
                channel.sendall(text.encode())
                continue
            socket.send_fds(channel, [b"{}"], [made.fileno()])
            made.close()
            # Only now is the receiver the only holder: what it closes is closed.
            channel.sendall(b".")


if __name__ == "__main__":
    serve(socket.socket(fileno=sys.stdin.fileno()))
