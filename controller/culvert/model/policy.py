"""Objects of ``culvert.dev/v1alpha1``: what owners say of the mesh, of Services and of pods.

``uid`` and ``generation`` are those of the object's metadata; both are empty (0) for an object of a
folder of manifests, which has none. They say what an outcome is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from culvert.model.key import ObjectKey
from culvert.model.token_issuer import TokenIssuer
from culvert.model.traffic import NOTHING_SAID, TrafficOverrides

MESH_CONFIG_NAME = "default"
"""The only name that a MeshConfig may have."""


class TargetRef(msgspec.Struct, frozen=True, order=True):
    """What a policy is attached to, in its own namespace (GEP-713, direct attachment).

    ``section_name`` is the name of one port of a Service, empty for all of them.
    """

    kind: str
    name: str
    section_name: str = ""
    group: str = ""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What all policies have. ``created_seconds`` is UNIX time, 0 where it is not known."""

    namespace: str
    name: str
    uid: str = ""
    generation: int = 0
    created_seconds: int = 0
    targets: tuple[TargetRef, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.namespace, self.name)


class TrafficPolicy(Policy, frozen=True, kw_only=True):
    """How traffic to its targets is carried."""

    traffic: TrafficOverrides = NOTHING_SAID


class MtlsMode(StrEnum):
    """Whether a pod takes mutual TLS, plain text, or both."""

    STRICT = "STRICT"
    PERMISSIVE = "PERMISSIVE"
    DISABLE = "DISABLE"


class PeerAuthentication(Policy, frozen=True, kw_only=True):
    """How connections to pods must come.

    Pods are those of ``targets``, or those with all labels of ``selector``; of the whole namespace
    where there is neither (``selector`` is ``None``). ``port_modes`` is by the pod's port.
    """

    selector: Mapping[str, str] | None = None
    mode: MtlsMode | None = None
    port_modes: Mapping[int, MtlsMode] = {}


class AuthorizationAction(StrEnum):
    """What becomes of a request that a policy matches."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a client must be: every field that is not empty must match."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a request must be: every field that is not empty must match."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    not_ports: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What an attribute, such as ``source.namespace``, must be."""

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One of ``sources``, one of ``operations`` and all of ``conditions`` must match.

    What is empty matches everything.
    """

    sources: tuple[Source, ...] = ()
    operations: tuple[Operation, ...] = ()
    conditions: tuple[Condition, ...] = ()


class AuthorizationPolicy(Policy, frozen=True, kw_only=True):
    """Who may reach pods; pods are selected as by ``PeerAuthentication``."""

    selector: Mapping[str, str] | None = None
    action: AuthorizationAction = AuthorizationAction.ALLOW
    rules: tuple[Rule, ...] = ()
    dry_run: bool = False
    """Only told of: what it would refuse is not refused."""


class AssignedPolicy(msgspec.Struct, frozen=True):
    """A policy that is for a pod: at ``ports_host``, or at every port where that is None."""

    policy: AuthorizationPolicy
    ports_host: frozenset[int] | None = None


class MeshConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the whole mesh; ``None`` where nothing was said."""

    uid: str = ""
    generation: int = 0
    trust_domain: str | None = None
    trust_domain_aliases: tuple[str, ...] | None = None
    token_issuers: tuple[TokenIssuer, ...] | None = None
    fail_open: bool | None = None
    acceleration: bool | None = None
    client_address: bool | None = None
    receive_budget_bytes: int | None = None
    excluded_namespaces: frozenset[str] | None = None
    traffic: TrafficOverrides = NOTHING_SAID
