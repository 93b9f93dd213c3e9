"""A large cluster as the objects of an API server: pure documents, and where each of them goes.

Every world is the beginning of a larger one, so that one control plane can hold them one after
another. Pods are on nodes that have no agent; the one node that is watched has none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from tests.bench.synthetic_pod import MADE, MANAGED_FIELDS, POD_SPEC, SERVER_PORT

ENDPOINTS_PER_SERVICE = 10
PODS_PER_NODE = 100
ZONES = 3
NAMESPACE = "large"
PORT_NAME = "main"
SERVICE_PORT = 80

SERVICES_PATH = f"/api/v1/namespaces/{NAMESPACE}/services"
SLICES_PATH = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"

_FIRST_SERVICE_ADDRESS = IPv4Address("10.96.1.0")
_FIRST_POD_ADDRESS = IPv4Address("10.128.0.0")

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class WorldSize:
    """``services`` is a multiple of ten, so that every node is full."""

    services: int

    @property
    def pods(self) -> int:
        """Every endpoint is a pod of its own."""
        return self.services * ENDPOINTS_PER_SERVICE

    @property
    def nodes(self) -> int:
        """Those that hold the pods."""
        return self.pods // PODS_PER_NODE


def object_count(size: WorldSize) -> int:
    """How many objects a world of this size has, but for its namespace."""
    return size.nodes + size.pods + 2 * size.services


def service_name(number: int) -> str:
    """Of the Service of this number."""
    return f"service-{number}"


def service_address(number: int) -> str:
    """Its cluster IP."""
    return str(_FIRST_SERVICE_ADDRESS + number)


def speaks_http(number: int) -> bool:
    """Whether its port does: as many do as do not, for they compile to different resources."""
    return number % 2 == 1


def ready_addresses(number: int, unready: int) -> set[str]:
    """The addresses of its endpoints but the one of this index."""
    first = number * ENDPOINTS_PER_SERVICE
    return {
        _pod_address(first + index) for index in range(ENDPOINTS_PER_SERVICE) if index != unready
    }


def node_name(number: int) -> str:
    """Of the node of this number."""
    return f"large-node-{number}"


def namespace() -> Document:
    """The namespace that everything is in, with its pods in the mesh."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"culvert.dev/mesh": "enabled"}},
    }


def service(number: int) -> Document:
    """A Service without a selector: its endpoints are whatever is written."""
    address = service_address(number)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service_name(number), "namespace": NAMESPACE},
        "spec": {
            "clusterIP": address,
            "clusterIPs": [address],
            "ports": [
                {
                    "name": PORT_NAME,
                    "port": SERVICE_PORT,
                    "targetPort": SERVER_PORT,
                    "appProtocol": "http" if speaks_http(number) else "tcp",
                }
            ],
        },
    }


def endpoint_slice(number: int, *, unready: frozenset[int] = frozenset()) -> Document:
    """All endpoints of one Service; ``unready`` of them, by index, get no traffic."""
    name = service_name(number)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "bench.culvert.dev",
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": PORT_NAME, "port": SERVER_PORT, "protocol": "TCP"}],
        "endpoints": [
            _endpoint(number * ENDPOINTS_PER_SERVICE + index, ready=index not in unready)
            for index in range(ENDPOINTS_PER_SERVICE)
        ],
    }


def _endpoint(pod_number: int, *, ready: bool) -> Document:
    return {
        "addresses": [_pod_address(pod_number)],
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
        "nodeName": node_name(pod_number // PODS_PER_NODE),
        "targetRef": {"kind": "Pod", "name": _pod_name(pod_number), "namespace": NAMESPACE},
    }


def stored_objects(first: WorldSize, last: WorldSize) -> Iterator[tuple[str, Document]]:
    """Key in etcd and document of each node and pod that ``last`` has and ``first`` has not.

    The API server writes protobuf and reads JSON as well ("Encrypting data at rest" calls both by
    the name of storage media types). Through the API a pod is three requests: itself, its status,
    and what admission asks.
    """
    for number in range(first.nodes, last.nodes):
        yield f"/registry/minions/{node_name(number)}", _node(number)
    for number in range(first.pods, last.pods):
        yield f"/registry/pods/{NAMESPACE}/{_pod_name(number)}", _pod(number)


def _node(number: int) -> Document:
    name = node_name(number)
    labels = {
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/region": "region",
        "topology.kubernetes.io/zone": f"zone-{number % ZONES}",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": _stored_metadata(name, f"node-{number}", labels),
        "spec": {},
        "status": {"addresses": [{"type": "Hostname", "address": name}]},
    }


def _pod(number: int) -> Document:
    address = _pod_address(number)
    labels = {"app": service_name(number // ENDPOINTS_PER_SERVICE)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **_stored_metadata(_pod_name(number), f"pod-{number}", labels),
            "namespace": NAMESPACE,
            "managedFields": MANAGED_FIELDS,
        },
        "spec": {"nodeName": node_name(number // PODS_PER_NODE), **POD_SPEC},
        "status": {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def _stored_metadata(name: str, uid: str, labels: Document) -> Document:
    return {"name": name, "uid": uid, "creationTimestamp": MADE, "labels": labels}


def _pod_name(number: int) -> str:
    return f"pod-{number}"


def _pod_address(number: int) -> str:
    return str(_FIRST_POD_ADDRESS + number)
