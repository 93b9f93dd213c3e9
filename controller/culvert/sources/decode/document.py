"""One document in, one model object out, or a reason why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from culvert.model.endpoint import EndpointSlice
from culvert.model.node import Namespace, Node
from culvert.model.policy import (
    AuthorizationPolicy,
    MeshConfig,
    PeerAuthentication,
    TrafficPolicy,
)
from culvert.model.service import Service
from culvert.model.workload import Workload
from culvert.sources.decode import objects, policies, policy_wire, wire
from culvert.sources.decode.rejection import rejection

Decoded = (
    Namespace
    | Node
    | Workload
    | Service
    | EndpointSlice
    | MeshConfig
    | TrafficPolicy
    | PeerAuthentication
    | AuthorizationPolicy
)

POLICY_API_VERSION = "culvert.dev/v1alpha1"

IGNORED_KINDS = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "ControllerRevision",
        "CronJob",
        "CustomResourceDefinition",
        "DaemonSet",
        "Deployment",
        "Endpoints",
        "Event",
        "HorizontalPodAutoscaler",
        "Ingress",
        "Job",
        "Lease",
        "NetworkPolicy",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "ReplicaSet",
        "Role",
        "RoleBinding",
        "Secret",
        "ServiceAccount",
        "StatefulSet",
        "StorageClass",
    }
)
"""Kinds that belong in any folder of manifests and concern the mesh only by what comes of them."""


class Identity(NamedTuple):
    """What a document claims to be."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {where}"


_WireObject = TypeVar("_WireObject", bound=wire.Wire)


class _Kind(NamedTuple):
    api_version: str
    namespaced: bool
    decode: Callable[[Mapping[str, Any]], Decoded]


def decode_document(document: Mapping[str, Any]) -> Decoded | None:
    """Decode one object; None where its kind is not one that the mesh reads.

    ``document`` is a mapping such as YAML or JSON gives.

    Raises:
        DecodeError: it is of a known kind, but not a valid object of it.
    """
    name = document.get("kind")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None or document.get("apiVersion") != kind.api_version:
        return None
    return kind.decode(document)


def identity_of(document: Mapping[str, Any]) -> Identity | None:
    """What a document claims to be, as far as it can be read; None where it has no kind or name."""
    kind = document.get("kind")
    metadata = document.get("metadata")
    if not isinstance(kind, str) or not isinstance(metadata, Mapping):
        return None
    name = metadata.get("name")
    namespace = metadata.get("namespace")
    if not isinstance(name, str) or not name:
        return None
    known = _KINDS.get(kind)
    if known is not None and not known.namespaced:
        return Identity(kind, "", name)
    return Identity(kind, namespace if isinstance(namespace, str) else "default", name)


def _decoder(
    shape: type[_WireObject], build: Callable[[_WireObject], Decoded]
) -> Callable[[Mapping[str, Any]], Decoded]:
    def decode(document: Mapping[str, Any]) -> Decoded:
        try:
            decoded = msgspec.convert(document, shape)
        except msgspec.ValidationError as error:
            raise rejection(error) from error
        return build(decoded)

    return decode


_KINDS: Mapping[str, _Kind] = {
    "Namespace": _Kind("v1", False, _decoder(wire.NamespaceObject, objects.namespace)),
    "Node": _Kind("v1", False, _decoder(wire.NodeObject, objects.node)),
    "Pod": _Kind("v1", True, _decoder(wire.PodObject, objects.workload)),
    "Service": _Kind("v1", True, _decoder(wire.ServiceObject, objects.service)),
    "EndpointSlice": _Kind(
        "discovery.k8s.io/v1",
        True,
        _decoder(wire.EndpointSliceObject, objects.endpoint_slice),
    ),
    "MeshConfig": _Kind(
        POLICY_API_VERSION, False, _decoder(policy_wire.MeshConfigObject, policies.mesh_config)
    ),
    "TrafficPolicy": _Kind(
        POLICY_API_VERSION, True, _decoder(policy_wire.TrafficPolicyObject, policies.traffic_policy)
    ),
    "PeerAuthentication": _Kind(
        POLICY_API_VERSION,
        True,
        _decoder(policy_wire.PeerAuthenticationObject, policies.peer_authentication),
    ),
    "AuthorizationPolicy": _Kind(
        POLICY_API_VERSION,
        True,
        _decoder(policy_wire.AuthorizationPolicyObject, policies.authorization_policy),
    ),
}
