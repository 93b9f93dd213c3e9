"""Objects of ``culvert.dev`` as they are read, without an API server to check them first."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from culvert.kube.collection import Undecodable
from culvert.model.key import ObjectKey
from culvert.model.policy import AuthorizationAction, MtlsMode, TargetRef
from culvert.model.traffic import NOTHING_SAID, OutlierDetection, RetryCondition
from culvert.sources.decode import DecodeError, decode_document
from culvert.sources.kubernetes.kinds import policy_kinds
from culvert.sources.manifests import ManifestSource
from hypothesis import given
from hypothesis import strategies as st

KINDS = ("MeshConfig", "TrafficPolicy", "PeerAuthentication", "AuthorizationPolicy")
WEB = {"targetRefs": [{"kind": "Service", "name": "web"}]}


def read(kind: str, spec: Any, **metadata: Any) -> Any:
    return decode_document(
        {
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": "default", "namespace": "shop"} | metadata,
            "spec": spec,
        }
    )


def test_what_is_not_said_is_not_made_up() -> None:
    assert read("TrafficPolicy", WEB).traffic == NOTHING_SAID
    config = read("MeshConfig", {})
    assert config.traffic == NOTHING_SAID
    assert (config.fail_open, config.acceleration, config.excluded_namespaces) == (None,) * 3


def test_identity_and_age_are_those_of_the_metadata() -> None:
    policy = read(
        "TrafficPolicy", WEB, uid="u1", generation=7, creationTimestamp="1970-01-01T00:01:00Z"
    )
    assert (policy.key, policy.uid, policy.generation) == (ObjectKey("shop", "default"), "u1", 7)
    assert policy.created_seconds == 60
    assert policy.targets == (TargetRef("Service", "web"),)


def test_every_item_of_traffic_is_read() -> None:
    spec = WEB | {
        "timeouts": {"request": "1m30s", "idle": "0", "connect": "250ms"},
        "retries": {"attempts": 3, "retryOn": ["5xx", "reset", "5xx"], "perTryTimeout": "2s"},
        "circuitBreaking": {
            "maxConnections": 1,
            "maxPendingRequests": 2,
            "maxRequests": 3,
            "maxRetries": 4,
        },
        "outlierDetection": {"interval": "5s"},
        "loadBalancing": {
            "policy": "Random",
            "locality": "Node",
            "sessionAffinity": {"type": "Header", "name": "x-user"},
        },
    }
    traffic = msgspec.structs.asdict(read("TrafficPolicy", spec).traffic)
    assert [name for name, value in traffic.items() if value is None] == ["access_log"]
    assert traffic["request_timeout_seconds"] == 90.0
    assert traffic["retry_on"] == (RetryCondition.RESET, RetryCondition.SERVER_ERROR)
    assert traffic["outlier_detection"] == OutlierDetection(interval_seconds=5.0)


def test_trust_domain_and_its_aliases_are_read_and_checked() -> None:
    config = read("MeshConfig", {"trustDomain": "b.org", "trustDomainAliases": ["d", "a", "d"]})
    assert (config.trust_domain, config.trust_domain_aliases) == ("b.org", ("a", "d"))
    for spec, field in (
        ({"trustDomain": "B.org"}, "spec.trustDomain"),
        ({"trustDomainAliases": ["a", "b/c"]}, "spec.trustDomainAliases[1]"),
    ):
        with pytest.raises(DecodeError) as refused:
            read("MeshConfig", spec)
        assert refused.value.field == field


def test_modes_and_actions_are_read() -> None:
    spec = {
        "selector": {"matchLabels": {"app": "web"}},
        "mtls": {"mode": "STRICT"},
        "portLevelMtls": {"8080": {"mode": "DISABLE"}},
    }
    peer = read("PeerAuthentication", spec)
    assert (peer.selector, peer.mode) == ({"app": "web"}, MtlsMode.STRICT)
    assert peer.port_modes == {8080: MtlsMode.DISABLE}
    assert read("AuthorizationPolicy", {}).action is AuthorizationAction.ALLOW


KEY = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}


def issuers(*keys: object, **more: object) -> dict[str, Any]:
    jwks = msgspec.json.encode({"keys": keys}).decode()
    return {"tokenIssuers": [{"issuer": "https://one", "jwks": jwks, **more}]}


def test_issuers_of_tokens_are_read() -> None:
    [one] = read("MeshConfig", issuers(KEY, audiences=["shop"])).token_issuers
    assert (one.issuer, one.audiences) == ("https://one", ("shop",))


BAD = [
    ("MeshConfig", issuers(KEY, jwks="{"), "spec.tokenIssuers[0].jwks"),
    ("MeshConfig", issuers(), "spec.tokenIssuers[0].jwks"),
    ("MeshConfig", issuers({"kty": "oct", "k": "AA"}), "spec.tokenIssuers[0].jwks keys[0].kty"),
    ("MeshConfig", issuers({"kty": "EC", "crv": "P-256"}), "spec.tokenIssuers[0].jwks keys[0]"),
    ("MeshConfig", issuers({**KEY, "d": "AA"}), "spec.tokenIssuers[0].jwks keys[0]"),
    (
        "MeshConfig",
        {"tokenIssuers": issuers(KEY)["tokenIssuers"] * 2},
        "spec.tokenIssuers[1].issuer",
    ),
    ("TrafficPolicy", {}, "spec.targetRefs"),
    ("TrafficPolicy", {"targetRefs": [{"kind": "Pod", "name": "web"}]}, "spec.targetRefs[0]"),
    ("TrafficPolicy", {"targetRefs": [{"kind": "Service"}]}, "spec.targetRefs[0].name"),
    ("TrafficPolicy", WEB | {"timeouts": {"idle": "soon"}}, "spec.timeouts.idle"),
    ("TrafficPolicy", WEB | {"timeouts": {"connect": "0s"}}, "spec.timeouts.connect"),
    ("TrafficPolicy", WEB | {"retries": {"attempts": 11}}, "spec.retries.attempts"),
    ("TrafficPolicy", WEB | {"retries": {"retryOn": ["luck"]}}, "spec.retries.retryOn[0]"),
    (
        "TrafficPolicy",
        WEB | {"timeouts": {"request": "1s"}, "retries": {"perTryTimeout": "2s"}},
        "spec.retries.perTryTimeout",
    ),
    ("MeshConfig", {"failMode": "Ajar"}, "spec.failMode"),
    (
        "MeshConfig",
        {"acceleration": {"receiveBudget": "4MB"}},
        "spec.acceleration.receiveBudget",
    ),
    ("MeshConfig", {"defaults": {"timeouts": {"idle": "x"}}}, "spec.defaults.timeouts.idle"),
    ("PeerAuthentication", {}, "spec"),
    ("PeerAuthentication", {"mtls": {"mode": "SOME"}}, "spec.mtls.mode"),
    (
        "PeerAuthentication",
        {"selector": {"matchLabels": {}}, "portLevelMtls": {"0": {"mode": "STRICT"}}},
        "spec.portLevelMtls[0]",
    ),
    ("AuthorizationPolicy", {"action": "DENY"}, "spec.rules"),
    (
        "AuthorizationPolicy",
        {"rules": [{"from": [{"source": {}}]}]},
        "spec.rules[0].from[0].source",
    ),
    (
        "AuthorizationPolicy",
        {"rules": [{"to": [{"operation": {"notPorts": [80, 0]}}]}]},
        "spec.rules[0].to[0].operation.notPorts[1]",
    ),
    (
        "AuthorizationPolicy",
        {"rules": [{}, {"when": [{"key": "source.ip"}]}]},
        "spec.rules[1].when[0]",
    ),
    (
        "AuthorizationPolicy",
        {"rules": [{"when": [{"key": "destination.ip", "values": ["*"]}]}]},
        "spec.rules[0].when[0].values[0]",
    ),
    (
        "AuthorizationPolicy",
        {"rules": [{"from": [{"source": {"notPrincipals": ["spiffe://x/ns/a/sa/b"]}}]}]},
        "spec.rules[0].from[0].source.notPrincipals[0]",
    ),
    (
        "AuthorizationPolicy",
        {"rules": [{"when": [{"key": "source.principal", "values": ["spiffe://x/*"]}]}]},
        "spec.rules[0].when[0].values[0]",
    ),
]


@pytest.mark.parametrize(("kind", "spec", "field"), BAD)
def test_a_bad_value_is_named_by_its_field(kind: str, spec: Any, field: str) -> None:
    with pytest.raises(DecodeError) as rejected:
        read(kind, spec)
    assert rejected.value.field == field
    assert rejected.value.remedy


leaves = st.none() | st.booleans() | st.integers(-1, 70000) | st.text(max_size=5)
fields = st.sampled_from(
    [
        "targetRefs",
        "kind",
        "name",
        "mtls",
        "mode",
        "rules",
        "from",
        "source",
        "when",
        "key",
        "timeouts",
        "request",
        "retries",
        "selector",
        "matchLabels",
        "portLevelMtls",
        "80",
    ]
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(fields, inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(KINDS), anything, anything)
def test_no_content_does_worse_than_being_rejected(kind: str, spec: Any, created: Any) -> None:
    with suppress(DecodeError):
        read(kind, spec, creationTimestamp=created)


def test_a_manifest_that_has_become_bad_leaves_its_last_good_version(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    text = """
apiVersion: culvert.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: web, namespace: shop}
spec: {targetRefs: [{kind: Service, name: web}], timeouts: {request: %s}}
"""
    source = ManifestSource([tmp_path])
    file.write_text(text % "15s")
    good = source.read().traffic_policies
    file.write_text(text % "fifteen seconds")
    world = source.read()
    assert world.traffic_policies == good
    (finding,) = world.findings
    assert (finding.subject, finding.field) == ("TrafficPolicy shop/web", "spec.timeouts.request")


@pytest.mark.parametrize("kind", policy_kinds(), ids=lambda kind: kind.name)
def test_an_unreadable_object_of_the_api_is_named(kind: Any) -> None:
    body = {"metadata": {"name": "default", "resourceVersion": "1"}, "spec": 5}
    with pytest.raises(Undecodable) as rejected:
        kind.decode(msgspec.Raw(msgspec.json.encode(body)))
    finding = rejected.value.finding
    assert (finding.code, finding.field) == ("CV0102", "spec")
    assert finding.subject == f"{kind.name} default"


def test_a_server_without_the_definitions_is_a_server_without_policies() -> None:
    assert all(kind.optional for kind in policy_kinds())
