"""Nodes and pods on one machine: network namespaces, cgroups and links, and what runs in them.

``culvert demo``, the tests and the benchmarks all use it::

    with Rig() as rig:
        node = rig.add_node("node-a")
        pod = node.add_pod("client")
        pod.connect((node.proxy_addresses.ipv4, 15001))
"""

from __future__ import annotations

from culvert.rig.addressing import PodAddresses
from culvert.rig.node import Node
from culvert.rig.pod import Pod
from culvert.rig.rig import PROXY_ADDRESSES, Rig
from culvert.rig.sweep import leftovers, sweep, sweep_dead

__all__ = [
    "PROXY_ADDRESSES",
    "Node",
    "Pod",
    "PodAddresses",
    "Rig",
    "leftovers",
    "sweep",
    "sweep_dead",
]
