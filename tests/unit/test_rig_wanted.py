"""Decoding of the demo's manifests: what is wrong is named, the rest stays in force."""

from __future__ import annotations

from typing import Any

import pytest
from culvert.model.finding import Severity
from culvert.rig.wanted import SourcedDocument, Wanted, decode


def pod(name: str = "p", container_name: str = "c", **container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": container_name, "command": ["true"], **container}]},
    }


def service(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}


def read(*documents: Any, before: Wanted | None = None) -> Wanted:
    return decode([SourcedDocument(f"a.yaml#{n}", d) for n, d in enumerate(documents, 1)], before)


@pytest.mark.parametrize(
    ("document", "subject", "field"),
    [
        ({"kind": "Pod"}, "a.yaml#1", "apiVersion"),
        ({"apiVersion": "v1", "metadata": {}}, "a.yaml#1", "kind"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": 1}, "a.yaml#1", "metadata"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {}}, "a.yaml#1", "metadata.name"),
        (pod("Upper"), "a.yaml#1", "metadata.name"),
        (pod("../../etc"), "a.yaml#1", "metadata.name"),
        (pod(command=[]), "Pod default/p", "spec.containers[0].command"),
        (pod(command=[1]), "Pod default/p", "spec.containers[0].command[0]"),
        (pod(container_name="../x"), "Pod default/p", "spec.containers[0].name"),
        (
            pod(ports=[{"containerPort": 70000}]),
            "Pod default/p",
            "spec.containers[0].ports[0].containerPort",
        ),
        (
            pod(readinessProbe={"tcpSocket": {"port": "none"}}),
            "Pod default/p",
            "spec.containers[0].readinessProbe.tcpSocket.port",
        ),
        (
            pod(env=[{"name": "A", "valueFrom": {"configMapKeyRef": {}}}]),
            "Pod default/p",
            "spec.containers[0].env[0].valueFrom",
        ),
        (pod() | {"spec": {}}, "Pod default/p", "spec.containers"),
        (pod() | {"spec": {"hostNetwork": True}}, "Pod default/p", "spec.hostNetwork"),
        (service(ports=[{"port": "80"}]), "Service default/s", "spec.ports[0].port"),
        (service(clusterIP="nonsense"), "Service default/s", "spec.clusterIP"),
        (service(ipFamilies=["IPv5"]), "Service default/s", "spec.ipFamilies"),
        (service(type="Magic"), "Service default/s", "spec.type"),
        (
            {"apiVersion": "v1", "kind": "Deployment", "metadata": {"name": "d"},
             "spec": {"replicas": -1, "template": pod()}},
            "Deployment default/d",
            "spec.replicas",
        ),
        (
            {"apiVersion": "v1", "kind": "Deployment", "metadata": {"name": "d"},
             "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pod()}},
            "Deployment default/d",
            "spec.selector",
        ),
    ],
)  # fmt: skip
def test_bad_object_is_one_finding_and_the_others_stay(
    document: dict[str, Any], subject: str, field: str
) -> None:
    wanted = read(document, pod("good"))
    (finding,) = wanted.findings
    assert (finding.subject, finding.field, finding.severity) == (subject, field, Severity.ERROR)
    assert finding.message
    assert finding.remedy
    assert [p.name for p in wanted.pods] == ["good"]


def test_object_that_turns_bad_keeps_its_last_good_version() -> None:
    before = read(pod())
    wanted = read(pod(command=[]), before=before)
    assert wanted.pods == before.pods
    assert len(wanted.findings) == 1


def test_object_that_is_gone_does_not_come_back() -> None:
    assert read(before=read(pod())).objects == {}


def test_second_definition_is_reported_and_the_first_counts() -> None:
    wanted = read(pod(command=["first"]), pod(command=["second"]))
    assert wanted.pods[0].template.containers[0].command == ("first",)
    (finding,) = wanted.findings
    assert "a.yaml#2" in finding.message
    assert "a.yaml#1" in finding.message


def test_field_without_effect_is_a_warning_and_the_pod_runs() -> None:
    wanted = read(pod(volumeMounts=[{"name": "v"}]))
    (finding,) = wanted.findings
    assert finding.severity is Severity.WARNING
    assert finding.field == "spec.containers[0].volumeMounts"
    assert len(wanted.pods) == 1


def test_kind_that_nothing_acts_on_is_passed_on() -> None:
    document = {"apiVersion": "x/v1", "kind": "Thing", "metadata": {"name": "t"}}
    assert list(read(document).objects.values()) == [document]


def test_revision_does_not_depend_on_the_order_of_fields() -> None:
    one = pod()
    other = dict(reversed(one.items()))
    other["spec"] = {"containers": [dict(reversed(one["spec"]["containers"][0].items()))]}
    assert read(one).pods[0].template.revision == read(other).pods[0].template.revision


@pytest.mark.parametrize(
    ("spec", "families"),
    [
        ({}, ("IPv4",)),
        ({"ipFamilies": ["IPv6"]}, ("IPv6",)),
        ({"ipFamilyPolicy": "PreferDualStack"}, ("IPv4", "IPv6")),
        ({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}, ("IPv6", "IPv4")),
        ({"clusterIP": "fd00:10:96::9"}, ("IPv6",)),
        ({"clusterIP": "None"}, ("IPv4",)),
        ({"clusterIPs": ["10.96.0.9", "fd00:10:96::9"]}, ("IPv4", "IPv6")),
    ],
)
def test_families_of_a_service(spec: dict[str, Any], families: tuple[str, ...]) -> None:
    assert read(service(**spec)).services[0].families == families
