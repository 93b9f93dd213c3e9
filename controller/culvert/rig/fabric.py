"""The network between the nodes: one namespace with a bridge, standing also for the outside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute

from culvert.rig import links, netns
from culvert.rig.addressing import NodeAddresses, netns_name


@dataclass(frozen=True, slots=True)
class Fabric:
    """The fabric of a rig; every method belongs on the rig's netlink thread."""

    netns: Path
    bridge: int
    mtu: int
    netlink: IPRoute

    @classmethod
    def make(cls, rig_id: str, *, mtu: int) -> Fabric:
        """Make the namespace and the bridge.

        Raises:
            OSError: the kernel refused.
        """
        with netns.created(netns_name(rig_id, "fabric")) as path:
            netns.write_sysctls(links.ROUTER_SYSCTLS)
            netlink = links.open_netlink()
            links.loopback_up(netlink)
            return cls(path, links.make_fabric(netlink, mtu=mtu), mtu, netlink)

    def plug(self, addresses: NodeAddresses, node_netns: int) -> None:
        """Connect a node, by an open descriptor of its namespace."""
        links.plug_node(
            self.netlink, addresses, bridge=self.bridge, node_netns=node_netns, mtu=self.mtu
        )

    def close(self) -> None:
        """Close the netlink socket."""
        self.netlink.close()
