"""What a node tells the API server of itself; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from culvert.rig.addressing import NodeAddresses

HOSTNAME_LABEL = "kubernetes.io/hostname"
LEASE_SECONDS = 40
"""As the kubelet's default."""
KUBELET_HOST = "localhost"
"""Where the API server finds the kubelets of all nodes, each on a port of its own."""
MAX_PODS = 250
_BYTES = "8Gi"


def node_object(name: str, labels: Mapping[str, str], addresses: NodeAddresses) -> dict[str, Any]:
    """Return a Node without its status."""
    own = {HOSTNAME_LABEL: name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {**own, **labels}},
        "spec": {
            "podCIDR": addresses.pod_cidr4,
            "podCIDRs": [addresses.pod_cidr4, addresses.pod_cidr6],
            "providerID": f"culvert-rig://{name}",
        },
    }


def node_status(
    name: str,
    addresses: NodeAddresses,
    *,
    now: str,
    kubelet_port: int,
    kubelet_version: str,
) -> dict[str, Any]:
    """Return a Node's status: ready. ``now`` is RFC 3339; port 0 stands for no kubelet API."""
    resources = {"cpu": "8", "memory": _BYTES, "pods": str(MAX_PODS)}
    conditions = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ]
    status: dict[str, Any] = {
        "addresses": [
            {"type": "InternalIP", "address": addresses.ipv4},
            {"type": "InternalIP", "address": addresses.ipv6},
            {"type": "Hostname", "address": name},
        ],
        "capacity": resources,
        "allocatable": resources,
        "conditions": [
            {
                "type": kind,
                "status": value,
                "reason": reason,
                "message": "a node of a rig",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
            for kind, value, reason in conditions
        ],
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": "",
            "containerRuntimeVersion": "culvert-rig://1",
            "kernelVersion": "",
            "kubeProxyVersion": "",
            "kubeletVersion": kubelet_version,
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": "",
            "systemUUID": "",
        },
    }
    if kubelet_port:
        # The addresses of a rig's nodes lead nowhere outside of the rig, where the API server is.
        status["addresses"].append({"type": "ExternalDNS", "address": KUBELET_HOST})
        status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": kubelet_port}}
    return status


def lease(name: str, *, node_uid: str, now_micro: str) -> dict[str, Any]:
    """Return the Lease by which a node shows that it is alive."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "namespace": "kube-node-lease",
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}
            ],
        },
        "spec": {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": now_micro,
        },
    }
