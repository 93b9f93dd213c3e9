from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from culvert.control.event_plan import Regarding, event_of, reason_of, regarding
from culvert.model.report import ReportedFinding

FINDING = ReportedFinding("CV0401", "Service shop/web", "spec.ports[0]", "is wrong", "mend it")
WEB = Regarding("Service", "shop", "web")


def about(subject: str) -> ReportedFinding:
    return msgspec.structs.replace(FINDING, subject=subject)


def event(
    finding: ReportedFinding = FINDING, regarded: Regarding = WEB, uid: str = "u1", by: str = "one"
) -> dict[str, Any]:
    return event_of(finding, regarded, uid, reporting_instance=by, now_rfc3339_micro="now")


@pytest.mark.parametrize(
    ("subject", "want"),
    [
        ("Service shop/web", WEB),
        ("Pod shop/web-0.a", Regarding("Pod", "shop", "web-0.a")),
        ("MeshConfig default", Regarding("MeshConfig", "", "default")),
        ("Node worker-1.example", Regarding("Node", "", "worker-1.example")),
    ],
)
def test_event_is_about_the_subject_of_the_finding(subject: str, want: Regarding) -> None:
    assert regarding(about(subject), "a-node") == want


@pytest.mark.parametrize(
    "subject",
    [
        "file broken.yaml",
        "Service web",
        "Node shop/web",
        "Service shop/",
        "Service /web",
        "",
        "Secret shop/web",
        "Service shop/web and more",
        "Service shop/../../../api/v1/namespaces/kube-system/secrets/x",
        "Service ../web",
        "Service shop/web?watch=true",
        "Service shop/..",
        "Node ..",
        "Service shop/web\n",
        "Node " + "x" * 254,
    ],
)
def test_subject_that_is_no_object_is_told_on_the_node_that_has_it(subject: str) -> None:
    assert regarding(about(subject), "a-node") == Regarding("Node", "", "a-node")
    assert regarding(about(subject), "") is None


def test_paths_are_those_of_the_object_and_of_the_events_in_its_namespace() -> None:
    assert WEB.path == "/api/v1/namespaces/shop/services/web"
    assert WEB.events_path == "/apis/events.k8s.io/v1/namespaces/shop/events"
    node = Regarding("Node", "", "a")
    assert node.path == "/api/v1/nodes/a"
    assert node.events_path == "/apis/events.k8s.io/v1/namespaces/default/events"


def test_same_finding_makes_the_same_event_whoever_leads() -> None:
    assert event(by="one")["metadata"] == event(by="two")["metadata"]


def test_each_finding_and_each_life_of_an_object_has_an_event_of_its_own() -> None:
    others = [
        msgspec.structs.replace(FINDING, **{field: "another"})
        for field in ("code", "subject", "field", "message")
    ]
    made = [event(), event(uid="u2"), *map(event, others)]
    assert len({one["metadata"]["name"] for one in made}) == len(made)


def test_note_says_what_is_wrong_where_and_what_to_do() -> None:
    assert event()["note"] == "CV0401 spec.ports[0]: is wrong; mend it"
    on_node = event(about("file a.yaml"), Regarding("Node", "", "a"))
    assert on_node["note"] == "CV0401 file a.yaml: spec.ports[0]: is wrong; mend it"


@pytest.mark.parametrize("letter", ["x", "ä", "€"])
def test_long_note_is_cut_to_what_the_api_takes(letter: str) -> None:
    note = event(msgspec.structs.replace(FINDING, message=letter * 2000))["note"]
    assert len(note.encode()) <= 1024
    assert note.endswith(f"{letter}…")


def test_name_of_an_event_on_a_long_name_is_still_a_name() -> None:
    name = event(regarded=replace(WEB, name="a" * 235 + "." + "b" * 17))["metadata"]["name"]
    assert len(name) <= 253
    assert ".." not in name


def test_reason_is_the_codes_name_and_an_unknown_code_its_own() -> None:
    assert reason_of("CV0401") == "InvalidMeshLabel"
    assert reason_of("CV9999") == "CV9999"


def test_event_refers_to_the_object_by_uid_and_the_cluster_scoped_one_without_namespace() -> None:
    assert event()["regarding"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "namespace": "shop",
        "name": "web",
        "uid": "u1",
    }
    on_node = event(regarded=Regarding("Node", "", "a"))
    assert "namespace" not in on_node["regarding"]
    assert on_node["metadata"]["namespace"] == "default"
