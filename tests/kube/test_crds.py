"""The kinds of ``culvert.dev`` as a real API server and kubectl show them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from culvert.embedded.control_plane import ControlPlane

from tests.kube.definitions import FILES, PLURALS, succeeds

pytestmark = pytest.mark.usefixtures("definitions")

TRAFFIC_POLICY = {
    "apiVersion": "culvert.dev/v1alpha1",
    "kind": "TrafficPolicy",
    "metadata": {"name": "web"},
    "spec": {
        "targetRefs": [{"kind": "Service", "name": "web"}, {"kind": "Service", "name": "api"}],
        "timeouts": {"request": "15s"},
        "outlierDetection": {},
    },
}
PEER_AUTHENTICATION = {
    "apiVersion": "culvert.dev/v1alpha1",
    "kind": "PeerAuthentication",
    "metadata": {"name": "strict"},
    "spec": {"mtls": {"mode": "STRICT"}},
}
AUTHORIZATION_POLICY = {
    "apiVersion": "culvert.dev/v1alpha1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "front"},
    "spec": {"rules": [{"from": [{"source": {"namespaces": ["front"]}}]}]},
}
MESH_CONFIG = {
    "apiVersion": "culvert.dev/v1alpha1",
    "kind": "MeshConfig",
    "metadata": {"name": "default"},
    "spec": {"failMode": "Open", "acceleration": {"mode": "Enabled"}},
}


def put(plane: ControlPlane, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
    shown = succeeds(
        plane, "apply", "-n", namespace, "-f", "-", "-o", "json", stdin=json.dumps(body)
    )
    return dict(json.loads(shown))


def put_status(
    plane: ControlPlane, namespace: str, what: str, manager: str, **messages: tuple[str, str]
) -> None:
    """Conditions of an object: type -> (reason, message)."""
    kind, name = what.split("/")
    conditions = [
        {
            "type": condition,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for condition, (reason, message) in messages.items()
    ]
    body = {
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "status": {"conditions": conditions},
    }
    succeeds(
        plane,
        *("apply", "--server-side", "--subresource=status", f"--field-manager={manager}"),
        *("-n", namespace, "-f", "-"),
        stdin=json.dumps(body),
    )


def table(text: str) -> list[list[str]]:
    """Rows of ``kubectl get``, columns apart, the last one (the age) left out."""
    return [
        [cell.strip() for cell in line.split("  ") if cell.strip()][:-1]
        for line in text.splitlines()
    ]


@pytest.mark.parametrize("plural", PLURALS)
def test_definition_is_structural_and_has_its_names(
    control_plane: ControlPlane, plural: str
) -> None:
    shown = json.loads(succeeds(control_plane, "get", "crd", f"{plural}.culvert.dev", "-ojson"))
    states = {one["type"]: one["status"] for one in shown["status"]["conditions"]}
    assert states["NamesAccepted"] == states["Established"] == "True"
    assert states.get("NonStructuralSchema", "False") == "False"
    assert shown["spec"]["names"]["categories"] == ["culvert"]


def test_applying_the_definitions_again_changes_nothing(control_plane: ControlPlane) -> None:
    arguments = ("get", "crd", "-ojsonpath={.items[*].metadata.generation}")
    before = succeeds(control_plane, *arguments)
    succeeds(control_plane, "apply", "--server-side", "-f", str(FILES))
    assert succeeds(control_plane, *arguments) == before


@pytest.mark.parametrize("plural", PLURALS)
def test_explain_tells_of_every_field(control_plane: ControlPlane, plural: str) -> None:
    definition = yaml.safe_load((FILES / f"{plural}.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    shown = succeeds(control_plane, "explain", plural)
    assert words(schema["description"]) in words(shown)
    spec = succeeds(control_plane, "explain", f"{plural}.spec")
    for name, field in schema["properties"]["spec"]["properties"].items():
        assert f"{name}\t" in spec
        assert words(field["description"]) in words(spec)


def words(text: str) -> str:
    return " ".join(text.split())


def test_explain_reaches_the_innermost_field(control_plane: ControlPlane) -> None:
    shown = succeeds(control_plane, "explain", "cvtp.spec.outlierDetection.consecutive5xx")
    assert "FIELD: consecutive5xx <integer>" in shown
    assert words("that put an endpoint out.") in words(shown)


def test_get_shows_the_first_target_and_how_far_the_nodes_are(
    control_plane: ControlPlane, namespace: str
) -> None:
    put(control_plane, namespace, TRAFFIC_POLICY)
    put_status(
        control_plane,
        namespace,
        "TrafficPolicy/web",
        "culvert-controller",
        Accepted=("Accepted", ""),
        ResolvedRefs=("TargetNotFound", "there is no Service api"),
        Programmed=("Pending", "2/3 nodes"),
    )
    assert table(succeeds(control_plane, "get", "-n", namespace, "trafficpolicies")) == [
        ["NAME", "TARGET", "ACCEPTED", "PROGRAMMED"],
        ["web", "web", "Accepted", "2/3 nodes"],
    ]
    wide = table(succeeds(control_plane, "get", "-n", namespace, "cvtp", "-owide"))
    assert wide[0] == ["NAME", "TARGET", "ACCEPTED", "PROGRAMMED", "REFS"]
    assert wide[1][-1] == "TargetNotFound"


def test_get_of_the_other_kinds_shows_what_they_do(
    control_plane: ControlPlane, namespace: str
) -> None:
    put(control_plane, namespace, PEER_AUTHENTICATION)
    put(control_plane, namespace, AUTHORIZATION_POLICY)
    states = {"Accepted": ("Accepted", ""), "Programmed": ("NotImplemented", "not enforced yet")}
    for what in ("PeerAuthentication/strict", "AuthorizationPolicy/front"):
        put_status(control_plane, namespace, what, "culvert-controller", **states)
    assert table(succeeds(control_plane, "get", "-n", namespace, "cvpa")) == [
        ["NAME", "MODE", "TARGET", "ACCEPTED", "PROGRAMMED"],
        ["strict", "STRICT", "Accepted", "not enforced yet"],
    ]
    assert table(succeeds(control_plane, "get", "-n", namespace, "cvap")) == [
        ["NAME", "ACTION", "DRY-RUN", "TARGET", "ACCEPTED", "PROGRAMMED"],
        ["front", "ALLOW", "false", "Accepted", "not enforced yet"],
    ]


def test_get_of_the_mesh_config_shows_its_modes(
    control_plane: ControlPlane, namespace: str
) -> None:
    try:
        put(control_plane, namespace, MESH_CONFIG)
        states = {"Accepted": ("Accepted", ""), "Programmed": ("Programmed", "3/3 nodes")}
        put_status(control_plane, namespace, "MeshConfig/default", "culvert-controller", **states)
        assert table(succeeds(control_plane, "get", "meshconfig")) == [
            ["NAME", "FAIL-MODE", "ACCELERATION", "ACCEPTED", "PROGRAMMED"],
            ["default", "Open", "Enabled", "Accepted", "3/3 nodes"],
        ]
    finally:
        succeeds(control_plane, "delete", "meshconfig", "default", "--ignore-not-found")


def test_get_culvert_lists_every_kind(control_plane: ControlPlane, namespace: str) -> None:
    for body in (TRAFFIC_POLICY, PEER_AUTHENTICATION, AUTHORIZATION_POLICY):
        put(control_plane, namespace, body)
    shown = succeeds(control_plane, "get", "culvert", "-n", namespace, "-oname").split()
    assert sorted(shown) == [
        "authorizationpolicy.culvert.dev/front",
        "peerauthentication.culvert.dev/strict",
        "trafficpolicy.culvert.dev/web",
    ]


def test_status_is_written_apart_and_a_new_spec_is_a_new_generation(
    control_plane: ControlPlane, namespace: str
) -> None:
    status = {"conditions": []}
    first = put(control_plane, namespace, TRAFFIC_POLICY | {"status": status})
    assert "status" not in first
    put_status(
        control_plane, namespace, "TrafficPolicy/web", "culvert-controller", Accepted=("A", "")
    )
    second = put(control_plane, namespace, TRAFFIC_POLICY)
    assert second["status"]["conditions"][0]["reason"] == "A"
    changed = TRAFFIC_POLICY | {"spec": TRAFFIC_POLICY["spec"] | {"timeouts": {"request": "1s"}}}  # type: ignore[operator]
    third = put(control_plane, namespace, changed)
    generations = [one["metadata"]["generation"] for one in (first, second, third)]
    assert generations == [1, 1, 2]


def test_conditions_of_several_writers_stand_side_by_side(
    control_plane: ControlPlane, namespace: str
) -> None:
    put(control_plane, namespace, TRAFFIC_POLICY)
    put_status(control_plane, namespace, "TrafficPolicy/web", "a", Accepted=("Accepted", ""))
    put_status(control_plane, namespace, "TrafficPolicy/web", "b", Custom=("Because", ""))
    shown = json.loads(succeeds(control_plane, "get", "-n", namespace, "cvtp", "web", "-ojson"))
    assert {one["type"] for one in shown["status"]["conditions"]} == {"Accepted", "Custom"}


def test_what_is_not_said_gets_the_documented_default(
    control_plane: ControlPlane, namespace: str
) -> None:
    spec = put(control_plane, namespace, TRAFFIC_POLICY)["spec"]
    assert spec["targetRefs"][0]["group"] == ""
    assert spec["outlierDetection"] == {
        "consecutive5xx": 5,
        "interval": "10s",
        "baseEjection": "30s",
        "maxEjectionPercent": 50,
    }
    assert put(control_plane, namespace, AUTHORIZATION_POLICY)["spec"]["action"] == "ALLOW"
