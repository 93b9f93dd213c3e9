from __future__ import annotations

import msgspec
import pytest
from culvert.control.status_object import SeenCondition, read_status_object
from culvert.model.report import ObjectId

OBJECT = {
    "metadata": {"name": "slow", "namespace": "shop", "uid": "u1", "generation": 3, "labels": {}},
    "spec": {"anything": True},
    "status": {
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "reason": "Accepted",
                "message": "",
                "observedGeneration": 2,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ]
    },
}


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def test_object_is_known_by_what_agents_report_it_by() -> None:
    seen = read_status_object("TrafficPolicy", raw(OBJECT))
    assert seen.id == ObjectId("TrafficPolicy", "shop", "slow", "u1")
    assert seen.generation == 3
    assert seen.condition("Accepted") == SeenCondition(
        "Accepted", "True", "Accepted", "", 2, "2026-01-01T00:00:00Z"
    )
    assert seen.condition("Programmed") is None


def test_new_object_has_no_conditions_and_a_cluster_scoped_one_no_namespace() -> None:
    seen = read_status_object("MeshConfig", raw({"metadata": {"name": "default", "uid": "u2"}}))
    assert seen.conditions == ()
    assert seen.key.namespace == ""


def test_what_no_schema_allows_is_an_error() -> None:
    with pytest.raises(msgspec.MsgspecError):
        read_status_object("TrafficPolicy", raw({"metadata": {"name": 5}}))
