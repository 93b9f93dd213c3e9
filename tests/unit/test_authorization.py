"""The meaning of AuthorizationPolicies, by the table in ``authorization_cases.yaml``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from culvert.compile.authorization.evaluate import Decision, evaluate, rehearse
from culvert.compile.authorization.facts import Connection, HttpRequest
from culvert.compile.authorization.scope import policies_for
from culvert.model.endpoint import Endpoint, EndpointPort, EndpointSlice
from culvert.model.key import ObjectKey
from culvert.model.policy import AuthorizationAction, AuthorizationPolicy, Rule, Source, TargetRef
from culvert.model.workload import Workload
from culvert.model.world import World
from culvert.sources.manifests import ManifestSource

SETS = yaml.safe_load(Path(__file__).with_name("authorization_cases.yaml").read_text())
CASES = [
    pytest.param(one["policies"], request, id=f"{one['name']}-{index}")
    for one in SETS
    for index, request in enumerate(one["requests"])
]


def read(specs: list[dict[str, Any]], folder: Path) -> list[AuthorizationPolicy]:
    """The policies as users write them, by the very decoder."""
    documents = [
        {
            "apiVersion": "culvert.dev/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": f"policy-{index}", "namespace": "shop"},
            "spec": spec,
        }
        for index, spec in enumerate(specs)
    ]
    (folder / "policies.yaml").write_text(yaml.safe_dump_all(documents))
    world = ManifestSource((folder,)).read()
    assert not world.findings
    return list(world.authorization_policies.values())


def facts(case: dict[str, Any]) -> tuple[Connection, HttpRequest | None]:
    namespace, _, account = case.get("from", "").partition("/")
    connection = Connection(
        source_address=case.get("ip", "10.0.0.1"),
        destination_address="10.0.0.9",
        destination_port_host=case.get("port", 8080),
        principal=f"cluster.local/ns/{namespace}/sa/{account}" if namespace else "",
    )
    if "http" not in case:
        return connection, None
    method, _, url = case["http"].partition(" ")
    host, _, path = url.partition("/")
    return connection, HttpRequest(method, host, f"/{path}", case.get("headers", {}))


@pytest.mark.parametrize(("specs", "case"), CASES)
def test_policies_say(specs: list[dict[str, Any]], case: dict[str, Any], tmp_path: Path) -> None:
    decision = evaluate(read(specs, tmp_path), *facts(case))
    assert decision.allowed is (case["want"] == "allow")


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 100


CALL = Connection("10.0.0.1", "10.0.0.9", 8080, "cluster.local/ns/shop/sa/cart")
EVERYTHING = (Rule(),)


def policy(name: str, action: AuthorizationAction, *rules: Rule) -> AuthorizationPolicy:
    return AuthorizationPolicy(namespace="shop", name=name, action=action, rules=rules)


def test_decision_names_the_policy_and_the_rule_that_settled_it() -> None:
    other = Rule(sources=(Source(namespaces=("other",)),))
    allow = policy("b", AuthorizationAction.ALLOW, other, *EVERYTHING)
    assert evaluate([allow], CALL) == Decision(True, (ObjectKey("shop", "b"), 1))
    deny = policy("z", AuthorizationAction.DENY, *EVERYTHING)
    assert evaluate([allow, deny], CALL) == Decision(False, (ObjectKey("shop", "z"), 0))


def test_audits_are_named_beside_any_decision() -> None:
    audit = policy("a", AuthorizationAction.AUDIT, *EVERYTHING)
    deny = policy("z", AuthorizationAction.DENY, *EVERYTHING)
    assert evaluate([audit], CALL) == Decision(True, None, (ObjectKey("shop", "a"),))
    assert evaluate([deny, audit], CALL).audited_by == (ObjectKey("shop", "a"),)


def dry(one: AuthorizationPolicy) -> AuthorizationPolicy:
    return msgspec.structs.replace(one, dry_run=True)


def test_rehearsal_says_what_dry_runs_would_change() -> None:
    allow = policy("a", AuthorizationAction.ALLOW, *EVERYTHING)
    nobody = policy("n", AuthorizationAction.ALLOW)
    deny = policy("z", AuthorizationAction.DENY, *EVERYTHING)
    assert rehearse([allow, deny], CALL) is None
    assert rehearse([dry(allow)], CALL) is None
    assert rehearse([dry(nobody)], CALL) == Decision(False)
    assert rehearse([allow, dry(deny)], CALL) == Decision(False, (ObjectKey("shop", "z"), 0))
    assert rehearse([nobody, dry(allow)], CALL) == Decision(True, (ObjectKey("shop", "a"), 0))


def test_an_audit_in_dry_run_is_an_audit() -> None:
    audit = dry(policy("a", AuthorizationAction.AUDIT, *EVERYTHING))
    assert evaluate([audit], CALL).audited_by == (ObjectKey("shop", "a"),)


POD = Workload("shop", "web-1", "uid", labels={"app": "web", "tier": "front"})


def considered(port_host: int = 8080, **fields: Any) -> bool:
    """Whether a policy with these fields is for the pod."""
    one = AuthorizationPolicy(**{"namespace": "shop", "name": "one", **fields})
    slices = EndpointSlice(
        "shop",
        "web-abc",
        "web",
        4,
        (EndpointPort(8080, "http"), EndpointPort(9090, "metrics")),
        (Endpoint(("10.0.0.9",), target=POD.key),),
    )
    world = World(authorization_policies={one.key: one}, endpoint_slices={slices.key: slices})
    return bool(policies_for(world, POD, port_host))


def test_policy_of_a_namespace_is_for_its_pods_and_no_others() -> None:
    assert considered()
    assert not considered(namespace="other")


def test_selector_must_hold_in_all_its_labels() -> None:
    assert considered(selector={"app": "web"})
    assert considered(selector={"app": "web", "tier": "front"})
    assert not considered(selector={"app": "web", "tier": "back"})


def test_target_is_for_the_ports_that_its_service_leads_to() -> None:
    assert considered(targets=(TargetRef("Service", "web"),))
    assert considered(9090, targets=(TargetRef("Service", "web"),))
    assert not considered(22, targets=(TargetRef("Service", "web"),))
    assert considered(9090, targets=(TargetRef("Service", "web", "metrics"),))
    assert not considered(8080, targets=(TargetRef("Service", "web", "metrics"),))
    assert not considered(targets=(TargetRef("Service", "other"),))
