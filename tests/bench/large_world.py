"""A large cluster as manifests: Services, their endpoints, and the pods behind these."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import yaml

SERVICES = 1000
ENDPOINTS_PER_SERVICE = 10
NODES = 100

_NAMESPACE = "large"
_FIRST_SERVICE_ADDRESS = IPv4Address("10.96.0.10")
_FIRST_POD_ADDRESS = IPv4Address("10.128.0.1")
_SERVER_PORT = 8080

_Document = dict[str, Any]


def write_large_world(folder: Path, node_name: str) -> None:
    """Write it, one file for each Service. ``node_name`` is one of its nodes."""
    _dump(folder / "cluster.yaml", [_namespace(), *(_node(n, node_name) for n in range(NODES))])
    for number in range(SERVICES):
        write_service(folder, number, node_name)


def write_service(
    folder: Path, number: int, node_name: str, *, unready: frozenset[int] = frozenset()
) -> None:
    """Write, or replace in one step, the file of one Service; ``unready`` endpoints get nothing."""
    _dump(folder / f"service-{number}.yaml", _service(number, node_name, unready))


def _dump(path: Path, documents: list[_Document]) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(yaml.dump_all(documents, Dumper=getattr(yaml, "CSafeDumper", None)))
    temporary.replace(path)


def _object(kind: str, name: str, version: str = "v1") -> _Document:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": _NAMESPACE},
    }


def _namespace() -> _Document:
    labels = {"culvert.dev/mesh": "enabled"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": _NAMESPACE, "labels": labels},
    }


def _node_name(number: int, first: str) -> str:
    return first if number == 0 else f"node-{number}"


def _node(number: int, first: str) -> _Document:
    labels = {"topology.kubernetes.io/zone": f"zone-{number % 3}"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": _node_name(number, first), "labels": labels},
    }


def _service(number: int, first_node: str, unready: frozenset[int]) -> list[_Document]:
    name = f"service-{number}"
    service = _object("Service", name)
    address = str(_FIRST_SERVICE_ADDRESS + number)
    # As many Services of HTTP as of bytes: they compile to different resources.
    protocol = "http" if number % 2 else "tcp"
    service["spec"] = {
        "clusterIP": address,
        "clusterIPs": [address],
        "selector": {"app": name},
        "ports": [
            {"name": "main", "port": 80, "targetPort": _SERVER_PORT, "appProtocol": protocol}
        ],
    }
    slice_ = _object("EndpointSlice", f"{name}-1", "discovery.k8s.io/v1")
    slice_["metadata"]["labels"] = {"kubernetes.io/service-name": name}
    slice_ |= {
        "addressType": "IPv4",
        "ports": [{"name": "main", "port": _SERVER_PORT, "protocol": "TCP"}],
        "endpoints": [],
    }
    pods = list(_pods(name, number, first_node))
    for index, pod in enumerate(pods):
        ready = index not in unready
        endpoint = {
            "addresses": [pod["status"]["podIP"]],
            "conditions": {"ready": ready, "serving": ready, "terminating": False},
            "nodeName": pod["spec"]["nodeName"],
            "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"], "namespace": _NAMESPACE},
        }
        slice_["endpoints"].append(endpoint)
    return [service, slice_, *pods]


def _pods(app: str, service: int, first_node: str) -> Iterator[_Document]:
    for index in range(ENDPOINTS_PER_SERVICE):
        number = service * ENDPOINTS_PER_SERVICE + index
        pod = _object("Pod", f"{app}-{index}")
        pod["metadata"] |= {"uid": f"uid-{number}", "labels": {"app": app}}
        pod["spec"] = {
            "nodeName": _node_name(number % NODES, first_node),
            "containers": [{"name": "main", "image": "local"}],
        }
        address = str(_FIRST_POD_ADDRESS + number)
        pod["status"] = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        yield pod
