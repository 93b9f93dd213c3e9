"""One snapshot of everything the compiler may know."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from culvert.model.endpoint import EndpointSlice
from culvert.model.finding import Finding
from culvert.model.key import ObjectKey
from culvert.model.node import Namespace, Node
from culvert.model.policy import (
    AuthorizationPolicy,
    MeshConfig,
    PeerAuthentication,
    TrafficPolicy,
)
from culvert.model.service import Service
from culvert.model.settings import Settings
from culvert.model.workload import Workload


class World(msgspec.Struct, frozen=True):
    """What the cluster says, and what this node sees.

    Sources keep an object's identity while its value is unchanged, so that identity can key a
    cache. ``local_cgroups`` maps the UID of a pod on this node to its cgroup v2 id (the inode
    number of its directory). ``identity_numbers`` are the numbers (1 to 65535) of this
    node's identities by SPIFFE ID: the kernel gives the proxy the number, the proxy knows the name.
    ``settings`` are those the node was started with; ``mesh_config`` goes over them. ``findings``
    are those of the source: what it could not read.
    """

    namespaces: Mapping[str, Namespace] = {}
    nodes: Mapping[str, Node] = {}
    workloads: Mapping[ObjectKey, Workload] = {}
    services: Mapping[ObjectKey, Service] = {}
    endpoint_slices: Mapping[ObjectKey, EndpointSlice] = {}
    mesh_config: MeshConfig | None = None
    traffic_policies: Mapping[ObjectKey, TrafficPolicy] = {}
    peer_authentications: Mapping[ObjectKey, PeerAuthentication] = {}
    authorization_policies: Mapping[ObjectKey, AuthorizationPolicy] = {}
    local_cgroups: Mapping[str, int] = {}
    identity_numbers: Mapping[str, int] = {}
    settings: Settings = Settings()
    findings: tuple[Finding, ...] = ()
