"""A node: a network namespace on the fabric, the cgroups of what runs there, and its pods."""

from __future__ import annotations

import asyncio
import os
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pyroute2 import IPRoute

from culvert.rig import cgroup as cgroups
from culvert.rig import links, netns, process
from culvert.rig.addressing import (
    MAX_PODS_PER_NODE,
    NodeAddresses,
    NumberPool,
    PodAddresses,
    netns_name,
)
from culvert.rig.netlink_thread import NetlinkThread
from culvert.rig.pod import Pod
from culvert.rig.process import Output
from culvert.rig.sockets import PodSockets

_NO_LINK = 0
"""The number of a pod that uses its node's network."""


class Node:
    """One node of a rig. Made by ``Rig.add_node``; goes with the rig.

    Calls block for some milliseconds; they may come from any thread, but not from a coroutine
    other than through ``asyncio.to_thread``.
    """

    def __init__(
        self,
        *,
        rig_id: str,
        name: str,
        zone: str,
        addresses: NodeAddresses,
        proxy_addresses: PodAddresses,
        mtu: int,
        netns_path: Path,
        netns_descriptor: int,
        netlink: IPRoute,
        fabric_link: int,
        cgroup: Path,
        thread: NetlinkThread,
        watch: Callable[[subprocess.Popen[bytes]], None],
    ) -> None:
        self.name = name
        self.zone = zone
        self.addresses = addresses
        self.proxy_addresses = proxy_addresses
        self.netns = netns_path
        self.netns_descriptor = netns_descriptor
        """Open for as long as the rig; for ``netns.entered``."""
        self.cgroup = cgroup
        self._rig_id = rig_id
        self._mtu = mtu
        self._netlink = netlink
        self._fabric_link = fabric_link
        self._thread = thread
        self._watch = watch
        self._numbers = NumberPool(MAX_PODS_PER_NODE)
        self._pods: dict[str, Pod] = {}

    @property
    def pods_cgroup(self) -> Path:
        """Parent of the cgroups of its pods."""
        return self.cgroup / "pods"

    @property
    def proxy_cgroup(self) -> Path:
        """For the node's Envoy."""
        return self.cgroup / "proxy"

    @property
    def agent_cgroup(self) -> Path:
        """For the node's agent."""
        return self.cgroup / "agent"

    @property
    def pods(self) -> Mapping[str, Pod]:
        """Its pods by uid."""
        return dict(self._pods)

    def add_pod(
        self,
        name: str,
        *,
        namespace: str = "default",
        uid: str | None = None,
        host_network: bool = False,
        number: int | None = None,
    ) -> Pod:
        """Make a pod; when that fails half-way nothing of it stays.

        ``uid`` defaults to a random UUID, as the API server would give. With ``host_network`` it
        has a cgroup of its own, but the node's namespace and addresses. With the ``number`` of a
        pod that is gone it has that one's addresses.

        Raises:
            ValueError: a pod of this uid exists, or of this number.
            RuntimeError: the node has no address left.
            OSError: the kernel refused.
        """
        pod_uid = str(uuid.uuid4()) if uid is None else uid
        if host_network:
            return self._thread.run(lambda: self._make_host_pod(name, namespace, pod_uid))
        return self._thread.run(lambda: self._make_pod(name, namespace, pod_uid, number))

    def remove_pod(self, uid: str) -> None:
        """Kill what runs in a pod and remove it; a uid that is not there changes nothing."""
        self._thread.run(lambda: self._remove_pod(uid))

    def start(
        self,
        argv: Sequence[str],
        *,
        cgroup: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Output = subprocess.DEVNULL,
        stdout: Output = None,
        stderr: Output = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program in the node's namespace, by default in the agent's cgroup."""
        started = process.start(
            argv,
            netns=self.netns,
            cgroup=self.agent_cgroup if cgroup is None else cgroup,
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        self._watch(started)
        return started

    async def start_async(
        self,
        argv: Sequence[str],
        *,
        cgroup: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdout: Output = None,
        stderr: Output = None,
    ) -> asyncio.subprocess.Process:
        """Start a program as ``start`` does; its end is for the caller to await."""
        return await process.start_async(
            argv,
            netns=self.netns,
            cgroup=self.agent_cgroup if cgroup is None else cgroup,
            env=env,
            cwd=cwd,
            stdout=stdout,
            stderr=stderr,
        )

    def route_to(self, other: NodeAddresses) -> None:
        """Route another node's pods to it; on the rig's netlink thread only."""
        links.route_pods_via(self._netlink, other, link=self._fabric_link)

    def close(self) -> None:
        """Close descriptors and socket helpers; on the rig's netlink thread only."""
        for pod in self._pods.values():
            pod.sockets.close()
        self._netlink.close()
        with suppress(OSError):
            os.close(self.netns_descriptor)

    def _make_pod(self, name: str, namespace: str, uid: str, wanted: int | None) -> Pod:
        if uid in self._pods:
            raise ValueError(f"node {self.name} has a pod of uid {uid} already")
        number = self._numbers.take(wanted)
        addresses = self.addresses.pod(number)
        cgroup = self.pods_cgroup / f"pod{uid}"
        label = netns_name(self._rig_id, self.name, f"pod{number}")
        try:
            with links.netlink_errors(f"pod {namespace}/{name}"):
                cgroup.mkdir()
                with netns.created(label) as path:
                    netns.write_sysctls(links.POD_SYSCTLS)
                    with netns.opened(path) as descriptor:
                        links.make_pod_link(
                            self._netlink, number=number, pod_netns=descriptor, mtu=self._mtu
                        )
                    with links.open_netlink() as ipr:
                        links.configure_pod(ipr, addresses)
                links.attach_pod(self._netlink, self.addresses, addresses, number=number)
        except BaseException:
            self._clear(number, label, cgroup)
            raise
        pod = Pod(
            name=name,
            namespace=namespace,
            uid=uid,
            node_name=self.name,
            number=number,
            addresses=addresses,
            netns=path,
            cgroup=cgroup,
            watch=self._watch,
            sockets=PodSockets(path, cgroup),
        )
        self._pods[uid] = pod
        return pod

    def _make_host_pod(self, name: str, namespace: str, uid: str) -> Pod:
        if uid in self._pods:
            raise ValueError(f"node {self.name} has a pod of uid {uid} already")
        cgroup = self.pods_cgroup / f"pod{uid}"
        cgroup.mkdir()
        pod = Pod(
            name=name,
            namespace=namespace,
            uid=uid,
            node_name=self.name,
            number=_NO_LINK,
            addresses=PodAddresses(ipv4=self.addresses.ipv4, ipv6=self.addresses.ipv6),
            netns=self.netns,
            cgroup=cgroup,
            watch=self._watch,
            sockets=PodSockets(self.netns, cgroup),
        )
        self._pods[uid] = pod
        return pod

    def _remove_pod(self, uid: str) -> None:
        pod = self._pods.get(uid)
        if pod is None:
            return
        pod.sockets.close()
        if pod.number == _NO_LINK:
            cgroups.remove(pod.cgroup)
        else:
            self._clear(pod.number, pod.netns.name, pod.cgroup)
        del self._pods[uid]

    def _clear(self, number: int, label: str, cgroup: Path) -> None:
        cgroups.remove(cgroup)
        with suppress(OSError), links.netlink_errors("remove the pod's link"):
            links.detach_pod(self._netlink, number=number)
        netns.remove(label)
        self._numbers.give_back(number)
