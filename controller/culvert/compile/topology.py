"""Where this node is relative to the endpoints of the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from culvert.model.endpoint import Endpoint
from culvert.model.node import Node


@dataclass(frozen=True, slots=True)
class Topology:
    """The node compiled for, its zone, and the zones of all nodes that have one."""

    node: str
    zone: str
    zone_by_node: Mapping[str, str]

    def is_on_node(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint runs on this node."""
        return bool(endpoint.node) and endpoint.node == self.node

    def is_in_zone(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint runs in this node's zone; false where either is unknown."""
        zone = endpoint.zone or self.zone_by_node.get(endpoint.node, "")
        return bool(zone) and zone == self.zone


def topology_of(nodes: Mapping[str, Node], node_name: str) -> Topology:
    """The topology as one node sees it. An unknown node has no zone."""
    zone_by_node = {name: node.zone for name, node in nodes.items() if node.zone}
    return Topology(node_name, zone_by_node.get(node_name, ""), zone_by_node)
