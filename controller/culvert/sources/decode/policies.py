"""Objects of ``culvert.dev/v1alpha1``, from the wire shapes to the model.

The API server has checked most of it against the kinds' schemas; a folder of manifests has not, and
some of it no schema can say. Every builder raises ``DecodeError``, which names the field.
"""

from __future__ import annotations

from typing import TypeVar

from culvert.model.key import ObjectKey
from culvert.model.policy import (
    MESH_CONFIG_NAME,
    AuthorizationAction,
    AuthorizationPolicy,
    MeshConfig,
    MtlsMode,
    PeerAuthentication,
    TargetRef,
    TrafficPolicy,
)
from culvert.sources.decode import policy_wire as wire
from culvert.sources.decode.authorization_rules import rules
from culvert.sources.decode.error import DecodeError
from culvert.sources.decode.token_issuers import token_issuers
from culvert.sources.decode.traffic import ACCESS_LOGS, traffic_overrides
from culvert.sources.decode.values import (
    choice,
    meaning,
    quantity_bytes,
    trust_domain,
    unix_seconds,
)

T = TypeVar("T")

_DEFAULT_NAMESPACE = "default"
_MAX_TARGETS = 16
_TARGET_KIND = "Service"
_MODES = {str(mode): mode for mode in MtlsMode}
_ACTIONS = {str(action): action for action in AuthorizationAction}
_FAIL_OPEN = {"Closed": False, "Open": True}
_ENABLED = {"Enabled": True, "Disabled": False}


def traffic_policy(seen: wire.TrafficPolicyObject) -> TrafficPolicy:
    """Build a TrafficPolicy."""
    key = _key(seen.metadata)
    return TrafficPolicy(
        namespace=key.namespace,
        name=key.name,
        uid=seen.metadata.uid or "",
        generation=seen.metadata.generation or 0,
        created_seconds=_created(seen.metadata),
        targets=_targets(seen.spec.target_refs),
        traffic=traffic_overrides(seen.spec, "spec"),
    )


def peer_authentication(seen: wire.PeerAuthenticationObject) -> PeerAuthentication:
    """Build a PeerAuthentication."""
    key = _key(seen.metadata)
    spec = seen.spec
    _check_one_of_both(spec.target_refs, spec.selector)
    if spec.mtls is None and not spec.port_level_mtls:
        raise DecodeError("spec", "says nothing", "set mtls or portLevelMtls")
    if spec.port_level_mtls and spec.target_refs is None and spec.selector is None:
        raise DecodeError(
            "spec.portLevelMtls", "needs pods that it is for", "add a selector or targetRefs"
        )
    return PeerAuthentication(
        namespace=key.namespace,
        name=key.name,
        uid=seen.metadata.uid or "",
        generation=seen.metadata.generation or 0,
        created_seconds=_created(seen.metadata),
        targets=_targets(spec.target_refs),
        selector=spec.selector.match_labels if spec.selector else None,
        mode=meaning(spec.mtls.mode, "spec.mtls.mode", _MODES) if spec.mtls else None,
        port_modes={
            _port(text): meaning(mtls.mode, f"spec.portLevelMtls[{text}].mode", _MODES)
            for text, mtls in (spec.port_level_mtls or {}).items()
        },
    )


def authorization_policy(seen: wire.AuthorizationPolicyObject) -> AuthorizationPolicy:
    """Build an AuthorizationPolicy."""
    key = _key(seen.metadata)
    spec = seen.spec
    _check_one_of_both(spec.target_refs, spec.selector)
    action = choice(spec.action, "spec.action", _ACTIONS) or AuthorizationAction.ALLOW
    if action is AuthorizationAction.DENY and not spec.rules:
        raise DecodeError(
            "spec.rules", "is empty, so that nothing is denied", "add a rule; {} matches everything"
        )
    return AuthorizationPolicy(
        namespace=key.namespace,
        name=key.name,
        uid=seen.metadata.uid or "",
        generation=seen.metadata.generation or 0,
        created_seconds=_created(seen.metadata),
        targets=_targets(spec.target_refs),
        selector=spec.selector.match_labels if spec.selector else None,
        action=action,
        rules=rules(spec.rules or ()),
        dry_run=spec.dry_run or False,
    )


def mesh_config(seen: wire.MeshConfigObject) -> MeshConfig:
    """Build the MeshConfig."""
    if seen.metadata.name != MESH_CONFIG_NAME:
        raise DecodeError(
            "metadata.name",
            f"is '{seen.metadata.name}'; there is one MeshConfig",
            f"name it {MESH_CONFIG_NAME}",
        )
    spec = seen.spec
    acceleration = spec.acceleration or wire.AccelerationObject()
    excluded, aliases = spec.excluded_namespaces, spec.trust_domain_aliases
    for index, alias in enumerate(aliases or ()):
        trust_domain(alias, f"spec.trustDomainAliases[{index}]")
    return MeshConfig(
        uid=seen.metadata.uid or "",
        generation=seen.metadata.generation or 0,
        trust_domain=trust_domain(spec.trust_domain, "spec.trustDomain"),
        trust_domain_aliases=None if aliases is None else tuple(sorted({*aliases})),
        token_issuers=None if spec.token_issuers is None else token_issuers(spec.token_issuers),
        fail_open=choice(spec.fail_mode, "spec.failMode", _FAIL_OPEN),
        acceleration=choice(acceleration.mode, "spec.acceleration.mode", _ENABLED),
        client_address=choice(spec.client_address, "spec.clientAddress", _ENABLED),
        receive_budget_bytes=quantity_bytes(
            acceleration.receive_budget, "spec.acceleration.receiveBudget", "64Ki", "1Gi"
        ),
        excluded_namespaces=None if excluded is None else frozenset(excluded),
        traffic=traffic_overrides(
            spec.defaults or wire.TrafficSettings(),
            "spec.defaults",
            choice(spec.access_log, "spec.accessLog", ACCESS_LOGS),
        ),
    )


def _key(metadata: wire.PolicyMetadata) -> ObjectKey:
    if not metadata.name:
        raise DecodeError("metadata.name", "is empty", "give the object a name")
    return ObjectKey(metadata.namespace or _DEFAULT_NAMESPACE, metadata.name)


def _created(metadata: wire.PolicyMetadata) -> int:
    return unix_seconds(metadata.creation_timestamp, "metadata.creationTimestamp")


def _targets(seen: tuple[wire.TargetRefObject, ...] | None) -> tuple[TargetRef, ...]:
    if seen is None:
        return ()
    if not 0 < len(seen) <= _MAX_TARGETS:
        raise DecodeError(
            "spec.targetRefs", f"has {len(seen)} items", f"list 1 to {_MAX_TARGETS} targets"
        )
    found: list[TargetRef] = []
    for index, ref in enumerate(seen):
        field = f"spec.targetRefs[{index}]"
        if ref.kind != _TARGET_KIND or ref.group:
            kind = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
            raise DecodeError(
                field, f"refers to kind '{kind}'", "refer to kind Service of the core group ('')"
            )
        if not ref.name:
            raise DecodeError(f"{field}.name", "is empty", "name a Service")
        target = TargetRef(ref.kind, ref.name, ref.section_name or "")
        if target in found:
            raise DecodeError(field, "names the same target again", "remove it")
        found.append(target)
    return tuple(found)


def _check_one_of_both(target_refs: object, selector: object) -> None:
    if target_refs is not None and selector is not None:
        raise DecodeError("spec", "has targetRefs and selector", "keep one of them")


def _port(text: str) -> int:
    if text.isdecimal() and text.isascii() and not text.startswith("0") and int(text) < 65536:
        return int(text)
    raise DecodeError(
        f"spec.portLevelMtls[{text}]", "is not a port", "use a number from 1 to 65535"
    )
