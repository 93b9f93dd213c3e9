"""Derive EndpointSlices from Services and pods, as the cluster's controller does; pure."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from culvert.rig.pod_status import PodStatus
from culvert.rig.service import Service, ServicePort, family_of

MAX_ENDPOINTS = 100
"""Per slice, the default of the Kubernetes controller."""

_Ports = tuple[tuple[str, int, str, str | None], ...]


def derive_slices(service: Service, pods: Iterable[PodStatus]) -> list[dict[str, Any]]:
    """Return the slices of a Service, in a stable order with stable names.

    One set for each address family, and in it for each set of port numbers: a named target port
    may mean different numbers in different pods. A Service without a selector, or of type
    ExternalName, has none.
    """
    if not service.selector or service.external_name:
        return []
    groups: dict[tuple[str, _Ports], list[dict[str, Any]]] = {}
    for pod in sorted(pods, key=lambda p: p.name):
        if not _selected(service, pod):
            continue
        ports = _ports(service, pod)
        for address in pod.ips:
            if ports and family_of(address) in service.families:
                group = groups.setdefault((family_of(address), ports), [])
                group.append(_endpoint(service, pod, address))
    return [
        _slice(service, family, ports, endpoints[start : start + MAX_ENDPOINTS], number)
        for (family, ports), endpoints in sorted(groups.items(), key=lambda item: repr(item[0]))
        for number, start in enumerate(range(0, len(endpoints), MAX_ENDPOINTS))
    ]


def _selected(service: Service, pod: PodStatus) -> bool:
    return (
        pod.namespace == service.namespace
        and service.selector.items() <= pod.template.labels.items()
        and pod.phase not in ("Succeeded", "Failed")
    )


def _ports(service: Service, pod: PodStatus) -> _Ports:
    resolved = ((port, _target(port, pod)) for port in service.ports)
    return tuple(
        (port.name, number, port.protocol, port.app_protocol)
        for port, number in resolved
        if number is not None
    )


def _target(port: ServicePort, pod: PodStatus) -> int | None:
    if isinstance(port.target, int):
        return port.target
    return pod.template.named_port(port.target, port.protocol)


def _endpoint(service: Service, pod: PodStatus, address: str) -> dict[str, Any]:
    endpoint: dict[str, Any] = {
        "addresses": [address],
        "conditions": {
            "ready": service.publish_not_ready or (pod.ready and not pod.terminating),
            "serving": pod.ready,
            "terminating": pod.terminating,
        },
        "nodeName": pod.node_name,
        "targetRef": {
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
        },
    }
    if pod.zone:
        endpoint["zone"] = pod.zone
    return endpoint


def _slice(
    service: Service, family: str, ports: _Ports, endpoints: list[dict[str, Any]], number: int
) -> dict[str, Any]:
    digest = sha256(repr((family, ports)).encode()).hexdigest()[:5]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": service.namespace,
            "name": f"{service.name}-{family.lower()}-{digest}-{number}",
            "labels": {
                "kubernetes.io/service-name": service.name,
                "endpointslice.kubernetes.io/managed-by": "culvert-demo",
            },
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [
            {
                "name": name,
                "port": port,
                "protocol": protocol,
                **({"appProtocol": app_protocol} if app_protocol else {}),
            }
            for name, port, protocol, app_protocol in ports
        ],
    }
