"""The objects that Events are about, and where the API has them; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

CLUSTER_EVENTS_NAMESPACE = "default"
"""Where Events on cluster-scoped objects belong."""

# RFC 1123, as in k8s.io/apimachinery/pkg/util/validation.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

_PATHS = {
    "Service": ("v1", "/api/v1", "services"),
    "Pod": ("v1", "/api/v1", "pods"),
    "Namespace": ("v1", "/api/v1", "namespaces"),
    "Node": ("v1", "/api/v1", "nodes"),
    "EndpointSlice": ("discovery.k8s.io/v1", "/apis/discovery.k8s.io/v1", "endpointslices"),
    "AuthorizationPolicy": (
        "culvert.dev/v1alpha1",
        "/apis/culvert.dev/v1alpha1",
        "authorizationpolicies",
    ),
    "MeshConfig": ("culvert.dev/v1alpha1", "/apis/culvert.dev/v1alpha1", "meshconfigs"),
    "PeerAuthentication": (
        "culvert.dev/v1alpha1",
        "/apis/culvert.dev/v1alpha1",
        "peerauthentications",
    ),
    "TrafficPolicy": ("culvert.dev/v1alpha1", "/apis/culvert.dev/v1alpha1", "trafficpolicies"),
}


@dataclass(frozen=True, slots=True, order=True)
class Regarding:
    """The object that an Event is about; ``namespace`` is empty for a cluster-scoped one."""

    kind: str
    namespace: str
    name: str

    @property
    def api_version(self) -> str:
        """As in its manifest."""
        return _PATHS[self.kind][0]

    @property
    def path(self) -> str:
        """Where the API has it."""
        _, prefix, plural = _PATHS[self.kind]
        namespace = f"namespaces/{self.namespace}/" if self.namespace else ""
        return f"{prefix}/{namespace}{plural}/{self.name}"

    @property
    def events_path(self) -> str:
        """Collection of the Events about it."""
        namespace = self.namespace or CLUSTER_EVENTS_NAMESPACE
        return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"


def regarding(subject: str) -> Regarding | None:
    """Return the object that a finding's subject names, None where it names none of the API.

    A subject is what a node says, and becomes a part of paths of the API: one that cannot be an
    object's name names none.
    """
    kind, _, named = subject.partition(" ")
    namespace, slash, name = named.rpartition("/")
    is_cluster_scoped = kind in ("Namespace", "Node", "MeshConfig")
    is_name = _NAME.fullmatch(name) and (not slash or _LABEL.fullmatch(namespace))
    if kind in _PATHS and is_name and bool(slash) != is_cluster_scoped:
        return Regarding(kind, namespace, name)
    return None
