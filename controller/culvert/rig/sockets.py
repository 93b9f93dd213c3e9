"""Sockets that live in a pod while the test that uses them does not."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from culvert.rig import process, socket_agent

Address = tuple[str, int]


class PodSockets:
    """Makes sockets in one namespace and cgroup, through a small process that stays there.

    The process starts with the first request. Thread safe. ``close`` ends the process; sockets
    already handed out live on.
    """

    def __init__(self, netns: Path, cgroup: Path) -> None:
        self._netns = netns
        self._cgroup = cgroup
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def request(
        self,
        family: socket.AddressFamily,
        kind: socket.SocketKind,
        *,
        bind: Address | None = None,
        listen: int | None = None,
        connect: Address | None = None,
        timeout_seconds: float | None = None,
    ) -> socket.socket:
        """Make a socket; bind, listen and connect it as far as asked, inside the pod.

        Raises:
            TimeoutError: the connection took longer than ``timeout_seconds``.
            OSError: as the socket calls do, or ECONNRESET when the pod is gone.
        """
        document: dict[str, Any] = {
            "family": int(family),
            "type": int(kind),
            "bind": bind,
            "listen": listen,
            "connect": connect,
            "timeout_seconds": timeout_seconds,
        }
        with self._lock:
            channel = self._channel or self._start()
            channel.sendall(json.dumps(document).encode() + b"\n")
            # No more than the answer to a success: the byte that follows is read by itself.
            answer, descriptors, _, _ = socket.recv_fds(channel, 2, 1)
            if descriptors:
                channel.recv(1)
                return socket.socket(fileno=descriptors[0])
            answer += channel.recv(4096) if answer else b""
        if not answer:
            raise ConnectionResetError(errno.ECONNRESET, "the pod is gone")
        problem = json.loads(answer)
        if problem["timeout"]:
            raise TimeoutError("timed out")
        raise OSError(problem["errno"], os.strerror(problem["errno"]))

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                self._channel = None
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = process.start(
                [sys.executable, "-I", "-S", str(socket_agent.__file__)],
                netns=self._netns,
                cgroup=self._cgroup,
                stdin=theirs.fileno(),
            )
        self._channel = ours
        return ours
