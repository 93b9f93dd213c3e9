"""The rig: nodes and pods on this machine, without a cluster, and their orderly end.

Nothing is made in the caller's network namespace. Whatever the rig makes carries its id in its
name, so that ``sweep`` can remove it even after the owner was killed.
"""

from __future__ import annotations

import atexit
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from culvert.rig import cgroup as cgroups
from culvert.rig import links, netns
from culvert.rig.addressing import (
    CGROUP_PREFIX,
    MAX_NODES,
    NodeAddresses,
    PodAddresses,
    check_node_name,
    check_rig_id,
    netns_name,
)
from culvert.rig.fabric import Fabric
from culvert.rig.netlink_thread import NetlinkThread
from culvert.rig.node import Node
from culvert.rig.state import RUN_DIRECTORY, own_state, write_state
from culvert.rig.sweeping import sweep

PROXY_ADDRESSES = PodAddresses(ipv4="169.254.77.1", ipv6="fd77::1")
"""Where the node proxy listens unless told otherwise; present on ``lo`` of each node."""


class Rig:
    """Nodes as network namespaces, pods as network namespaces and cgroups.

    Use it in a ``with`` statement: on leaving, by an exception or SIGTERM too, every process it
    started is killed and everything it made is removed. Thread safe. Methods block; on an event
    loop call them through ``asyncio.to_thread``.

    Raises:
        OSError: no right to make namespaces, or the id is taken (``FileExistsError``).
        NoCgroup2Error: no cgroup v2 hierarchy is mounted.
    """

    def __init__(
        self,
        *,
        rig_id: str | None = None,
        proxy_addresses: PodAddresses = PROXY_ADDRESSES,
        mtu: int = 1500,
        run_directory: Path = RUN_DIRECTORY,
    ) -> None:
        self.rig_id = check_rig_id(secrets.token_hex(3) if rig_id is None else rig_id)
        self.proxy_addresses = proxy_addresses
        self.mtu = mtu
        self._run_directory = run_directory
        self._owner_pid = os.getpid()
        self._closed = False
        self._previous_sigterm: signal.Handlers | None = None
        self._nodes: dict[str, Node] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        mount = cgroups.find_mount()
        self.cgroup = mount / f"{CGROUP_PREFIX}{self.rig_id}"
        self.directory = write_state(own_state(self.rig_id, mount), run_directory)
        """The rig's own files; removed with it."""
        atexit.register(self.close)
        self._thread = NetlinkThread(f"rig-{self.rig_id}")
        try:
            self.cgroup.mkdir()
            with links.netlink_errors("make the fabric"):
                self._fabric = self._thread.run(lambda: Fabric.make(self.rig_id, mtu=self.mtu))
        except BaseException:
            self.close()
            raise

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Its nodes by name."""
        return dict(self._nodes)

    @property
    def outside(self) -> Path:
        """The fabric's namespace (10.99.0.254, fd99::fe): no node, no mesh, reaches every pod."""
        return self._fabric.netns

    def add_node(self, name: str, *, zone: str = "") -> Node:
        """Make a node, connected to all others.

        Raises:
            ValueError: the name is taken or cannot name a node.
            RuntimeError: there are ``MAX_NODES`` already.
            OSError: the kernel refused.
        """
        check_node_name(name)
        return self._thread.run(lambda: self._make_node(name, zone))

    def watch(self, started: subprocess.Popen[bytes]) -> None:
        """Have a process collected when the rig closes, so that it stays no zombie."""
        with self._lock:
            self._processes = [p for p in self._processes if p.poll() is None]
            self._processes.append(started)

    def close(self) -> None:
        """Kill and remove everything; a second call, or one in a forked child, does nothing.

        While it runs, SIGINT and SIGTERM wait.
        """
        if self._closed or os.getpid() != self._owner_pid:
            return
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self._closed = True
            self._thread.close()
            for node in self._nodes.values():
                node.close()
            if hasattr(self, "_fabric"):
                self._fabric.close()
            sweep(self.rig_id, run_directory=self._run_directory)
            for started in self._processes:
                started.wait()
            atexit.unregister(self.close)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def __enter__(self) -> Self:
        """Have SIGTERM end the program in order, unless it is handled already."""
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        ):
            signal.signal(signal.SIGTERM, _exit_on_signal)
            self._previous_sigterm = signal.SIG_DFL
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close, and give SIGTERM its former meaning back."""
        try:
            self.close()
        finally:
            if self._previous_sigterm is not None:
                signal.signal(signal.SIGTERM, self._previous_sigterm)
                self._previous_sigterm = None

    def _make_node(self, name: str, zone: str) -> Node:
        if name in self._nodes:
            raise ValueError(f"rig {self.rig_id} has a node {name} already")
        if len(self._nodes) >= MAX_NODES:
            raise RuntimeError(f"a rig holds at most {MAX_NODES} nodes")
        addresses = NodeAddresses(len(self._nodes) + 1)
        cgroup = self.cgroup / name
        with links.netlink_errors(f"node {name}"):
            with netns.created(netns_name(self.rig_id, name)) as path:
                netns.write_sysctls(links.ROUTER_SYSCTLS)
                netlink = links.open_netlink()
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._fabric.plug(addresses, descriptor)
                fabric_link = links.configure_node(netlink, addresses, self.proxy_addresses)
                for part in (cgroup, cgroup / "pods", cgroup / "proxy", cgroup / "agent"):
                    part.mkdir()
            except BaseException:
                netlink.close()
                os.close(descriptor)
                raise
            node = Node(
                rig_id=self.rig_id,
                name=name,
                zone=zone,
                addresses=addresses,
                proxy_addresses=self.proxy_addresses,
                mtu=self.mtu,
                netns_path=path,
                netns_descriptor=descriptor,
                netlink=netlink,
                fabric_link=fabric_link,
                cgroup=cgroup,
                thread=self._thread,
                watch=self.watch,
            )
            for other in self._nodes.values():
                other.route_to(addresses)
                node.route_to(other.addresses)
        self._nodes[name] = node
        return node


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    """Turn a signal into ``SystemExit``, with the status a shell would show."""
    raise SystemExit(128 + number)
