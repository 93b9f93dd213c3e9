"""The part of each ``culvert.dev/v1alpha1`` object that the mesh reads.

Field names are those of ``charts/culvert-crds``; what holds for ``wire`` holds here too.
"""

from __future__ import annotations

import msgspec

from culvert.sources.decode.wire import Wire

Strings = tuple[str, ...] | None


class PolicyMetadata(Wire, frozen=True):
    """``metadata``, as far as it says which version of which object this is."""

    name: str
    namespace: str | None = None
    uid: str | None = None
    generation: int | None = None
    creation_timestamp: str | None = None


class TargetRefObject(Wire, frozen=True):
    """``spec.targetRefs[]``."""

    kind: str
    name: str
    group: str | None = None
    section_name: str | None = None


class Selector(Wire, frozen=True):
    """``spec.selector``."""

    match_labels: dict[str, str]


class Timeouts(Wire, frozen=True):
    """``timeouts``; durations as in ``model.duration``."""

    request: str | None = None
    idle: str | None = None
    connect: str | None = None


class Retries(Wire, frozen=True):
    """``retries``."""

    attempts: int | None = None
    retry_on: Strings = None
    per_try_timeout: str | None = None


class CircuitBreaking(Wire, frozen=True):
    """``circuitBreaking``."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_retries: int | None = None


class OutlierDetectionObject(Wire, frozen=True):
    """``outlierDetection``."""

    consecutive_5xx: int | None = msgspec.field(default=None, name="consecutive5xx")
    interval: str | None = None
    base_ejection: str | None = None
    max_ejection_percent: int | None = None


class SessionAffinityObject(Wire, frozen=True):
    """``loadBalancing.sessionAffinity``."""

    type: str
    name: str | None = None


class LoadBalancing(Wire, frozen=True):
    """``loadBalancing``."""

    policy: str | None = None
    session_affinity: SessionAffinityObject | None = None
    locality: str | None = None


class TrafficSettings(Wire, frozen=True):
    """What a TrafficPolicy's ``spec`` and a MeshConfig's ``spec.defaults`` have in common."""

    timeouts: Timeouts | None = None
    retries: Retries | None = None
    circuit_breaking: CircuitBreaking | None = None
    outlier_detection: OutlierDetectionObject | None = None
    load_balancing: LoadBalancing | None = None


class TrafficPolicySpec(TrafficSettings, frozen=True, kw_only=True):
    """``spec`` of a TrafficPolicy."""

    target_refs: tuple[TargetRefObject, ...]


class TrafficPolicyObject(Wire, frozen=True):
    """``culvert.dev/v1alpha1 TrafficPolicy``."""

    metadata: PolicyMetadata
    spec: TrafficPolicySpec


class Mtls(Wire, frozen=True):
    """``mtls``."""

    mode: str


class PeerAuthenticationSpec(Wire, frozen=True):
    """``spec`` of a PeerAuthentication."""

    target_refs: tuple[TargetRefObject, ...] | None = None
    selector: Selector | None = None
    mtls: Mtls | None = None
    port_level_mtls: dict[str, Mtls] | None = None


class PeerAuthenticationObject(Wire, frozen=True):
    """``culvert.dev/v1alpha1 PeerAuthentication``."""

    metadata: PolicyMetadata
    spec: PeerAuthenticationSpec


class SourceObject(Wire, frozen=True):
    """``spec.rules[].from[].source``."""

    principals: Strings = None
    not_principals: Strings = None
    namespaces: Strings = None
    not_namespaces: Strings = None
    ip_blocks: Strings = None
    not_ip_blocks: Strings = None


class OperationObject(Wire, frozen=True):
    """``spec.rules[].to[].operation``."""

    hosts: Strings = None
    not_hosts: Strings = None
    ports: tuple[int, ...] | None = None
    not_ports: tuple[int, ...] | None = None
    methods: Strings = None
    not_methods: Strings = None
    paths: Strings = None
    not_paths: Strings = None


class From(Wire, frozen=True):
    """``spec.rules[].from[]``."""

    source: SourceObject


class To(Wire, frozen=True):
    """``spec.rules[].to[]``."""

    operation: OperationObject


class When(Wire, frozen=True):
    """``spec.rules[].when[]``."""

    key: str
    values: Strings = None
    not_values: Strings = None


class RuleObject(Wire, frozen=True):
    """``spec.rules[]``."""

    from_: tuple[From, ...] | None = msgspec.field(default=None, name="from")
    to: tuple[To, ...] | None = None
    when: tuple[When, ...] | None = None


class AuthorizationPolicySpec(Wire, frozen=True):
    """``spec`` of an AuthorizationPolicy."""

    target_refs: tuple[TargetRefObject, ...] | None = None
    selector: Selector | None = None
    action: str | None = None
    dry_run: bool | None = None
    rules: tuple[RuleObject, ...] | None = None


class AuthorizationPolicyObject(Wire, frozen=True):
    """``culvert.dev/v1alpha1 AuthorizationPolicy``."""

    metadata: PolicyMetadata
    spec: AuthorizationPolicySpec


class AccelerationObject(Wire, frozen=True):
    """``spec.acceleration`` of a MeshConfig."""

    mode: str | None = None
    receive_budget: str | None = None


class TokenIssuerObject(Wire, frozen=True):
    """An item of ``spec.tokenIssuers`` of a MeshConfig."""

    issuer: str
    jwks: str
    audiences: Strings = None


class MeshConfigSpec(Wire, frozen=True):
    """``spec`` of a MeshConfig."""

    trust_domain: str | None = None
    trust_domain_aliases: Strings = None
    token_issuers: tuple[TokenIssuerObject, ...] | None = None
    fail_mode: str | None = None
    acceleration: AccelerationObject | None = None
    client_address: str | None = None
    defaults: TrafficSettings | None = None
    access_log: str | None = None
    excluded_namespaces: Strings = None


class MeshConfigObject(Wire, frozen=True):
    """``culvert.dev/v1alpha1 MeshConfig``."""

    metadata: PolicyMetadata
    spec: MeshConfigSpec
