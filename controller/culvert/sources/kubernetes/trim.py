"""What a node keeps of each object: no more than the compiler reads, so that memory stays small.

Trimming also makes fewer changes of what the API sends: a field that is not kept can change without
anybody having to look. Strings that repeat from object to object are held once.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern

import msgspec

from culvert.model.endpoint import Endpoint, EndpointSlice
from culvert.model.node import Namespace, Node
from culvert.model.service import Service
from culvert.model.workload import Workload
from culvert.sources.decode import objects, wire

OWN_PREFIX = "culvert.dev/"
"""Labels and annotations that speak to the mesh."""

_TOPOLOGY_PREFIX = "topology.kubernetes.io/"
_NOTHING: Mapping[str, str] = {}


class RemotePodSpec(wire.Wire, frozen=True):
    """``spec`` of a Pod of another node: its containers are not even decoded."""

    node_name: str | None = None
    host_network: bool | None = None
    service_account_name: str | None = None


class RemotePod(wire.Wire, frozen=True):
    """``v1 Pod`` of another node."""

    metadata: wire.Metadata
    spec: RemotePodSpec | None = None
    status: wire.PodStatus | None = None


def namespace(seen: wire.NamespaceObject) -> Namespace:
    """A namespace in full: selectors may ask for any of its labels."""
    return objects.namespace(seen)


def node(seen: wire.NodeObject) -> Node:
    """A node's addresses and where it stands."""
    full = objects.node(seen)
    return msgspec.structs.replace(full, labels=_with_prefix(full.labels, _TOPOLOGY_PREFIX))


def service(seen: wire.ServiceObject) -> Service:
    """A Service without the annotations of others."""
    full = objects.service(seen)
    return msgspec.structs.replace(full, annotations=_with_prefix(full.annotations, OWN_PREFIX))


def endpoint_slice(seen: wire.EndpointSliceObject) -> EndpointSlice:
    """An EndpointSlice without the names of the pods behind it."""
    full = objects.endpoint_slice(seen)
    return msgspec.structs.replace(
        full,
        namespace=intern(full.namespace),
        service=intern(full.service),
        endpoints=tuple(_shared(endpoint) for endpoint in full.endpoints),
    )


def local_pod(seen: wire.PodObject) -> Workload:
    """A pod of this node without the annotations of others."""
    full = objects.workload(seen)
    return msgspec.structs.replace(full, annotations=_with_prefix(full.annotations, OWN_PREFIX))


def remote_pod(seen: RemotePod) -> Workload | None:
    """A pod of another node as far as it can be reached; None where it has no own address."""
    spec = seen.spec or RemotePodSpec()
    full = objects.workload(
        wire.PodObject(
            seen.metadata,
            wire.PodSpec(
                node_name=spec.node_name,
                host_network=spec.host_network,
                service_account_name=spec.service_account_name,
            ),
            seen.status,
        )
    )
    if not full.addresses or not full.has_own_addresses:
        return None
    return msgspec.structs.replace(
        full,
        namespace=intern(full.namespace),
        # It leads to a pod's cgroup, and those of other nodes are not here.
        uid="",
        node=intern(full.node),
        service_account=intern(full.service_account),
        labels=_with_prefix(full.labels, OWN_PREFIX),
        annotations=_with_prefix(full.annotations, OWN_PREFIX),
    )


def _with_prefix(entries: Mapping[str, str], prefix: str) -> Mapping[str, str]:
    kept = {name: value for name, value in entries.items() if name.startswith(prefix)}
    return kept or _NOTHING


def _shared(endpoint: Endpoint) -> Endpoint:
    return msgspec.structs.replace(
        endpoint, node=intern(endpoint.node), zone=intern(endpoint.zone), target=None
    )
