"""What the chart renders for a mesh with identities, and what it leaves alone without."""

from __future__ import annotations

import json
from typing import Any

from tests.chart.test_render import of_kind, rendered

Rules = set[tuple[str, str, str]]


def rules_about(resource: str, role: dict[str, Any]) -> Rules:
    """Verb, resource and name ("" for all) of what a role allows."""
    return {
        (verb, one, name)
        for rule in role["rules"]
        for one in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
        if one == resource
    }


def secrets_allowed(*values: str) -> Rules:
    documents = rendered(*values)
    roles = [one for one in documents if one["kind"] in ("Role", "ClusterRole")]
    return set().union(*(rules_about("secrets", one) for one in roles))


def arguments(documents: list[dict[str, Any]], kind: str, end: str) -> list[str]:
    (container,) = of_kind(documents, kind, end)["spec"]["template"]["spec"]["containers"]
    return list(container["args"])


def test_without_identities_nobody_sees_a_secret_or_lists_pods_but_the_agent() -> None:
    assert secrets_allowed() == set()
    role = of_kind(rendered(), "ClusterRole", "-controller")
    assert rules_about("pods", role) == {("get", "pods", "")}
    assert "identity" not in json.dumps(of_kind(rendered(), "DaemonSet", "-agent"))


def test_controller_has_its_own_secret_and_creates_it() -> None:
    own = "culvert-controller-authority"
    needed = {("get", "secrets", own), ("patch", "secrets", own), ("create", "secrets", "")}
    assert secrets_allowed("identity.enabled=true") == needed
    provided = secrets_allowed("identity.enabled=true", "identity.existingSecret=cacerts")
    assert provided == needed | {("get", "secrets", "cacerts")}, "it is read, and never written"
    role = of_kind(rendered("identity.enabled=true"), "ClusterRole", "-controller")
    assert rules_about("pods", role) == {("get", "pods", ""), ("list", "pods", "")}


def test_values_reach_both_sides() -> None:
    documents = rendered(
        "identity.enabled=true",
        "identity.acceptOnly=true",
        "identity.trustDomain=shop.example",
        "identity.certificateLifetime=1h30m",
        "identity.existingSecret=cacerts",
    )
    assert {"--identity", "--accept-only", "--trust-domain=shop.example"} <= set(
        arguments(documents, "DaemonSet", "-agent")
    )
    assert {
        "--issue-certificates",
        "--trust-domain=shop.example",
        "--certificate-lifetime=1h30m",
        "--authority-secret=cacerts",
    } <= set(arguments(documents, "Deployment", "-controller"))


def test_values_of_a_release_from_before_identities_are_good_enough() -> None:
    # `helm upgrade --reuse-values` has none of what is new.
    assert rendered("identity=null") == rendered()
