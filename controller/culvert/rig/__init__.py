"""Nodes and pods on one machine: network namespaces, cgroups and links, and what runs in them.

``culvert demo``, the tests and the benchmarks all use it::

    with Rig() as rig:
        node = rig.add_node("node-a")
        pod = node.add_pod("client")
        pod.connect((node.proxy_addresses.ipv4, 15001))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from culvert.rig.addressing import PodAddresses
    from culvert.rig.node import Node
    from culvert.rig.pod import Pod
    from culvert.rig.rig import PROXY_ADDRESSES, Rig
    from culvert.rig.sweeping import leftovers, sweep, sweep_dead

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

_HOMES = {
    "PROXY_ADDRESSES": "rig",
    "Node": "node",
    "Pod": "pod",
    "PodAddresses": "addressing",
    "Rig": "rig",
    "leftovers": "sweeping",
    "sweep": "sweeping",
    "sweep_dead": "sweeping",
}


def __getattr__(name: str) -> object:
    # The programs in ``workloads`` live below this package and are started by the dozen: they must
    # not pay for importing pyroute2, which takes longer than they do.
    try:
        module = import_module(f"culvert.rig.{_HOMES[name]}")
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(module, name)
