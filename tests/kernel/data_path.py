"""The programs on a node of a rig, for tests: pods, maps and a stand-in for Envoy.

Sockets are made by processes inside the pods and the proxy's cgroup, and used from the test::

    client = data_path.add_pod("client")
    data_path.capture("10.96.0.10", 80)
    data_path.apply()
    with data_path.proxy.listen(), client.connect(("10.96.0.10", 80)) as connection: ...
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from culvert.model.redirect import (
    ANY_POD,
    ANY_PORT,
    Address16,
    Destination,
    DestinationFlag,
    DestinationKey,
    LocalFlag,
    PodFlag,
    ProxyListener,
    RedirectConfig,
    RedirectTable,
    address16,
)
from culvert.model.redirect import Pod as PodEntry
from culvert.redirect.abi import Verdict
from culvert.redirect.attach import Hook, attach, attach_sk_msg, hooks
from culvert.redirect.encode import encode_table
from culvert.redirect.kernel import KernelMaps, MapFull
from culvert.redirect.namespace import network_namespace_cookie
from culvert.redirect.plan import diff
from culvert.redirect.report import LoadReport
from culvert.rig import Node, Pod, netns
from culvert.rig.cgroup import find_mount
from culvert.rig.sockets import PodSockets

BPFFS = Path("/sys/fs/bpf")
PORTS = {
    ProxyListener.SERVICE_HTTP: 15001,
    ProxyListener.SERVICE_TCP: 15002,
    ProxyListener.POD_HTTP: 15003,
    ProxyListener.POD_TCP: 15004,
    ProxyListener.POD_MESH: 15005,
    ProxyListener.POD_LOCAL_TCP: 15006,
    ProxyListener.POD_LOCAL_HTTP: 15007,
}
SO_ORIGINAL_DST = 80
"""``linux/netfilter_ipv4.h``; the same number for IPv6."""

_LOAD = """
import json, sys
from culvert.redirect import compiler
compiler.CAPACITIES.update(json.loads(sys.argv.pop(1)))
from culvert.redirect.loader import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Loaded:
    """What one run of the loader pinned below ``root``."""

    root: Path
    report: LoadReport

    @property
    def maps(self) -> Path:
        return Path(self.report.maps_path)

    @property
    def programs(self) -> Path:
        return Path(self.report.programs_path)


def load(
    root: Path,
    cgroup_root: Path,
    capacities: Mapping[str, int] | None = None,
    *,
    self_test: bool = True,
) -> Loaded:
    """Run the loader, with other map sizes than the usual ones where ``capacities`` has them.

    Without the self-test it takes half the time, and pins the same.
    """
    argv = [sys.executable, "-c", _LOAD, json.dumps(capacities or {})]
    argv += ["--root", str(root), "--cgroup-root", str(cgroup_root)]
    if not self_test:
        argv += ["--without", "acceleration"]
    done = subprocess.run(argv, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return Loaded(root, msgspec.json.decode(done.stdout, type=LoadReport))


class Peer(NamedTuple):
    """An address and a port, without the extras of IPv6."""

    address: str
    port: int


class DataPath:
    """One node with the programs attached; ``apply`` brings ``table`` and ``config`` to the maps.

    Acceleration is off until ``accelerate``. Closing detaches everything; the maps are emptied when
    the next one is made.
    """

    def __init__(self, node: Node, loaded: Loaded, links: Path) -> None:
        self.node = node
        self.loaded = loaded
        self.links = links
        self.pods: dict[str, Pod] = {}
        self.table = RedirectTable()
        self.config = RedirectConfig(
            proxy4=address16(node.proxy_addresses.ipv4),
            proxy6=address16(node.proxy_addresses.ipv6),
            listener_ports=PORTS,
            accelerate=False,
            node_netns_cookie=_netns_cookie(node),
        )
        self._stack = ExitStack()
        self.maps = self._stack.enter_context(KernelMaps(loaded.maps))
        self._stack.callback(self.detach)
        self.proxy = self._stack.enter_context(ProxyStandIn(node))
        self._before = self.maps.tallies()
        try:
            for own in (node.proxy_addresses.ipv4, node.proxy_addresses.ipv6):
                self.table.local[address16(own)] = LocalFlag.ACCELERATED
            for own in (node.addresses.ipv4, node.addresses.ipv6):
                self.table.local[address16(own)] = LocalFlag.PROXY_SOURCE
            self._empty()
            self.apply()
            self.attach()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """What is attached to this node's cgroups."""
        return hooks(self.node.pods_cgroup, self.node.proxy_cgroup, self.node_root)

    @property
    def node_root(self) -> Path:
        """The cgroup that everything of the node is in."""
        return find_mount()

    def attach(self) -> None:
        """Attach as a starting agent does; also over what is attached already."""
        attach_sk_msg(self.loaded.programs, self.loaded.maps)
        attach(self.loaded.programs, self.links, self.hooks)

    def detach(self) -> None:
        """Detach what ``attach`` attached to cgroups."""
        for pin in self.links.iterdir() if self.links.is_dir() else ():
            pin.unlink()
        if self.links.is_dir():
            self.links.rmdir()

    def add_pod(
        self,
        name: str,
        *,
        flags: PodFlag = PodFlag.CAPTURED,
        excluded_ports: Collection[int] = (),
        excluded_cidrs: Collection[tuple[Address16, int]] = (),
        local: LocalFlag = LocalFlag.ACCELERATED,
        identity_number: int = 0,
    ) -> Pod:
        """Make a pod, and its entries with the next ``apply``; no flags: it is not in the mesh."""
        pod = self.node.add_pod(name)
        self.pods[name] = pod
        if flags:
            self.table.pods[pod.cgroup_id] = PodEntry(
                flags=flags,
                addresses=(address16(pod.ipv4), address16(pod.ipv6)),
                excluded_ports=frozenset(excluded_ports),
                excluded_cidrs=frozenset(excluded_cidrs),
                identity_number=identity_number,
            )
            for own in (pod.ipv4, pod.ipv6):
                self.table.local[address16(own)] = local
        return pod

    def capture(
        self,
        address: str,
        port: int,
        listener: ProxyListener = ProxyListener.SERVICE_TCP,
        flags: DestinationFlag = DestinationFlag.NONE,
    ) -> Peer:
        """Want connections to a destination to go to the proxy; returns the destination."""
        key = DestinationKey(address16(address), port)
        self.table.destinations[key] = Destination(listener, flags)
        return Peer(address, port)

    def require_mtls(self, pod: Pod, port: int = ANY_PORT, *, strict: bool = True) -> None:
        """Have a pod take mutual TLS only, at all ports or one; applies."""
        for own in (pod.ipv4, pod.ipv6):
            self.table.strict[DestinationKey(address16(own), port)] = strict
        self.apply()

    def require_mtls_of(self, pod: Pod | None, *, strict: bool = True) -> None:
        """The same by the pod's cgroup, or of all pods of which nothing is known; applies."""
        self.table.strict_pods.setdefault(ANY_POD, False)
        self.table.strict_pods[ANY_POD if pod is None else pod.cgroup_id] = strict
        self.apply()

    def accelerate(self, **settings: Any) -> None:
        """Switch acceleration on, with other settings of ``RedirectConfig`` as given; applies."""
        self.config = replace(self.config, **{"accelerate": True, **settings})
        self.apply()

    def identify(self) -> None:
        """Have the proxy shown identity numbers; applies."""
        self.config = replace(self.config, identity=True)
        self.apply()

    def pair(
        self, client: Pod, server: Pod, family: socket.AddressFamily = socket.AF_INET
    ) -> tuple[socket.socket, socket.socket]:
        """A direct connection between two pods, as (client's end, server's end), without Nagle."""
        address = server.ipv6 if family == socket.AF_INET6 else server.ipv4
        with server.listen((address, 0)) as listener:
            listener.settimeout(10)
            near = client.connect(listener.getsockname()[:2])
            try:
                far = listener.accept()[0]
            except BaseException:
                near.close()
                raise
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.settimeout(10)
        return near, far

    def apply(self) -> list[MapFull]:
        """Make the maps hold what is wanted; returns what did not fit."""
        want = encode_table(self.config, self.table)
        return self.maps.apply(diff(self.maps.read(), want))

    def count(self, verdict: Verdict) -> int:
        """How often a verdict was reached since this data path was made."""
        return self.maps.tallies()[verdict].count - self._before[verdict].count

    def bytes_of(self, verdict: Verdict) -> int:
        """The payload that a verdict of sending was reached for, likewise."""
        return self.maps.tallies()[verdict].bytes - self._before[verdict].bytes

    def _empty(self) -> None:
        self.maps.apply(diff(self.maps.read(), {}))
        self.maps.set_proxy_listeners(0)


def _netns_cookie(node: Node) -> int:
    with netns.entered(node.netns_descriptor):
        return network_namespace_cookie()


class ProxyStandIn:
    """Sockets in the place of Envoy: of the node's namespace, in the proxy's cgroup."""

    def __init__(self, node: Node) -> None:
        self._addresses = node.proxy_addresses
        self._sockets = PodSockets(node.netns, node.proxy_cgroup)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sockets.close()

    def address(
        self,
        listener: ProxyListener = ProxyListener.SERVICE_TCP,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> Peer:
        """Where the proxy listens."""
        ipv6 = family == socket.AF_INET6
        return Peer(self._addresses.ipv6 if ipv6 else self._addresses.ipv4, PORTS[listener])

    def listen(
        self,
        listener: ProxyListener = ProxyListener.SERVICE_TCP,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> socket.socket:
        """A listening socket; accepting times out, so that a missing connection fails a test."""
        return self.listen_at(self.address(listener, family))

    def listen_at(self, address: Peer) -> socket.socket:
        """The same at any of the node's addresses."""
        family = socket.AF_INET6 if ":" in address.address else socket.AF_INET
        made = self._sockets.request(family, socket.SOCK_STREAM, bind=address, listen=1024)
        made.settimeout(10)
        return made

    def socket(self, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
        """A socket of the proxy's, to be connected by the test."""
        made = self._sockets.request(family, socket.SOCK_STREAM)
        made.settimeout(10)
        return made

    def connect(self, address: tuple[str, int]) -> socket.socket:
        """A connection as the proxy makes one to an upstream."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        return self._sockets.request(
            family, socket.SOCK_STREAM, connect=address, timeout_seconds=10.0
        )


def original_destination(accepted: socket.socket) -> Peer:
    """What SO_ORIGINAL_DST says of a connection that the proxy accepted.

    Raises:
        OSError: nothing is known of it.
    """
    if accepted.family == socket.AF_INET6:
        raw = accepted.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        port, packed = struct.unpack_from("!2xH4x16s", raw)
        return Peer(socket.inet_ntop(socket.AF_INET6, packed), port)
    raw = accepted.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
    port, packed = struct.unpack_from("!2xH4s", raw)
    return Peer(socket.inet_ntop(socket.AF_INET, packed), port)


def peer_of(connection: socket.socket) -> Peer:
    """Who is at the other end, as the application sees it (getpeername)."""
    return Peer(*connection.getpeername()[:2])


def run_in(pod: Pod, source: str, *arguments: str | int, container: str | None = None) -> Any:
    """Run Python source as a process of the pod; what it prints is JSON, and is the result.

    ``arguments`` are in its ``sys.argv``, as text, from index 1.
    """
    argv = [sys.executable, "-I", "-S", "-c", source, *map(str, arguments)]
    started = pod.start(argv, container=container, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = started.communicate(timeout=60)
    except BaseException:
        started.kill()
        started.communicate()
        raise
    assert started.returncode == 0, err.decode()
    return json.loads(out)
