"""A pod: a network namespace, a cgroup, and a link to its node."""

from __future__ import annotations

import asyncio
import socket as net
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from culvert.rig import cgroup as cgroups
from culvert.rig import process
from culvert.rig.addressing import PodAddresses
from culvert.rig.process import Output
from culvert.rig.sockets import Address, PodSockets


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod of a rig. Made by ``Node.add_pod``, removed by ``Node.remove_pod``."""

    name: str
    namespace: str
    uid: str
    node_name: str
    number: int
    """Of the link and the addresses on its node."""
    addresses: PodAddresses
    netns: Path
    cgroup: Path
    """``…/pods/pod<uid>``; its inode number is what BPF programs call the pod."""
    watch: Callable[[subprocess.Popen[bytes]], None] = field(repr=False, compare=False)
    sockets: PodSockets = field(repr=False, compare=False)

    @property
    def ipv4(self) -> str:
        """Its IPv4 address."""
        return self.addresses.ipv4

    @property
    def ipv6(self) -> str:
        """Its IPv6 address."""
        return self.addresses.ipv6

    @property
    def cgroup_id(self) -> int:
        """The id of its cgroup, as BPF programs see it."""
        return cgroups.cgroup_id(self.cgroup)

    def container_cgroup(self, container: str) -> Path:
        """Return the cgroup of one container, below the pod's; make it when it is not there."""
        path = self.cgroup / container
        path.mkdir(exist_ok=True)
        return path

    def start(
        self,
        argv: Sequence[str],
        *,
        container: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Output = subprocess.DEVNULL,
        stdout: Output = None,
        stderr: Output = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program in the pod; the rig ends it at the latest when it closes.

        With ``container`` it runs in a cgroup of that name below the pod's, as in a cluster.
        """
        started = process.start(
            argv,
            netns=self.netns,
            cgroup=self.cgroup if container is None else self.container_cgroup(container),
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        self.watch(started)
        return started

    async def start_async(
        self,
        argv: Sequence[str],
        *,
        container: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Output = subprocess.DEVNULL,
        stdout: Output = None,
        stderr: Output = None,
    ) -> asyncio.subprocess.Process:
        """Start a program as ``start`` does; its end is for the caller to await."""
        return await process.start_async(
            argv,
            netns=self.netns,
            cgroup=self.cgroup if container is None else self.container_cgroup(container),
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_seconds: float = 30.0,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the pod to its end and return its status and output.

        Raises:
            subprocess.TimeoutExpired: it took too long, and was killed.
        """
        started = self.start(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = started.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            started.kill()
            started.communicate()
            raise
        return subprocess.CompletedProcess(list(argv), started.returncode, out, err)

    def socket(
        self,
        family: net.AddressFamily = net.AF_INET,
        kind: net.SocketKind = net.SOCK_STREAM,
    ) -> net.socket:
        """Make a socket of the pod's namespace and cgroup, for use in this process.

        Connecting it here runs the connect hooks of *this* process's cgroup: where these matter,
        use ``connect``.
        """
        return self.sockets.request(family, kind)

    def connect(
        self,
        address: Address,
        *,
        bind: Address | None = None,
        timeout_seconds: float | None = 10.0,
    ) -> net.socket:
        """Open a TCP connection as a process of the pod would, and return it (blocking mode).

        Raises:
            OSError: as ``socket.connect`` does; ``TimeoutError`` after ``timeout_seconds``.
        """
        return self.sockets.request(
            _family(address),
            net.SOCK_STREAM,
            bind=bind,
            connect=address,
            timeout_seconds=timeout_seconds,
        )

    def listen(self, address: Address, *, backlog: int = 128) -> net.socket:
        """Listen on TCP as a process of the pod would; port 0 picks a free one."""
        return self.sockets.request(_family(address), net.SOCK_STREAM, bind=address, listen=backlog)


def _family(address: Address) -> net.AddressFamily:
    return net.AF_INET6 if ":" in address[0] else net.AF_INET
