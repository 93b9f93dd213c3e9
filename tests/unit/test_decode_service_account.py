"""The service account of a pod, from manifests and from the API."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from culvert.model.workload import Workload
from culvert.sources.decode import DecodeError, decode_document, wire
from culvert.sources.kubernetes import trim


def pod(spec: dict[str, Any], namespace: str = "shop") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": spec,
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    }


def from_manifest(spec: dict[str, Any]) -> Workload | None:
    decoded = decode_document(pod(spec))
    assert isinstance(decoded, Workload)
    return decoded


def of_this_node(spec: dict[str, Any]) -> Workload | None:
    return trim.local_pod(msgspec.convert(pod(spec), wire.PodObject))


def of_another_node(spec: dict[str, Any]) -> Workload | None:
    return trim.remote_pod(msgspec.convert(pod(spec), trim.RemotePod))


@pytest.mark.parametrize("read", [from_manifest, of_this_node, of_another_node])
@pytest.mark.parametrize(
    ("spec", "expected"),
    [({}, "default"), ({"serviceAccountName": ""}, "default"), ({"serviceAccountName": "a"}, "a")],
    ids=["absent", "empty", "named"],
)
def test_pod_has_its_service_account_wherever_it_comes_from(
    read: Any, spec: dict[str, Any], expected: str
) -> None:
    assert read(spec).service_account == expected


@pytest.mark.parametrize("name", ["a/b", "A", "a b", "..", "a" * 254, "-a"])
def test_account_or_namespace_that_no_object_can_have_is_refused(name: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decode_document(pod({"serviceAccountName": name}))
    assert refused.value.field == "spec.serviceAccountName"
    with pytest.raises(DecodeError) as refused:
        decode_document(pod({}, namespace=name))
    assert refused.value.field == "metadata.namespace"
