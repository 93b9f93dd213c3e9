from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from culvert.control.event_key import EventKey
from culvert.control.event_plan import event_of, reason_of
from culvert.control.regarding import Regarding
from culvert.model.report import ReportedFinding

FINDING = ReportedFinding("CV0401", "Service shop/web", "spec.ports[0]", "is wrong", "mend it")
WEB = Regarding("Service", "shop", "web")


def about(subject: str) -> ReportedFinding:
    return msgspec.structs.replace(FINDING, subject=subject)


def event(
    finding: ReportedFinding = FINDING, regarded: Regarding = WEB, uid: str = "u1", by: str = "one"
) -> dict[str, Any]:
    key = EventKey(regarded, finding.code, finding.subject, finding.field, finding.message)
    return event_of(key, finding, uid, reporting_instance=by, now_rfc3339_micro="now")


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
