"""Every object that the charts render, over many values, is one that a real API server takes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml
from culvert.embedded.control_plane import ControlPlane

from tests.chart.matrix import VALUES
from tests.chart.test_render import CRDS, of_kind, rendered

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("definitions", "system_namespace")]

Document = dict[str, Any]


@pytest.fixture
def system_namespace(control_plane: ControlPlane) -> None:
    made = control_plane.kubectl("create", "namespace", "culvert-system")
    assert made.returncode == 0 or "already exists" in made.stderr, made.stderr


def dry_run(plane: ControlPlane, *documents: Document, namespace: str = "") -> str:
    """What the server says; every default, schema and admission rule of its is applied."""
    where = ["--namespace", namespace] if namespace else []
    done = plane.kubectl(
        *where,
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
        stdin=yaml.safe_dump_all(documents),
    )
    assert done.returncode == 0, done.stderr
    return str(done.stderr)


@contextmanager
def accounts_of(plane: ControlPlane, documents: list[Document]) -> Iterator[None]:
    """Really make the ServiceAccounts: a pod without its own is refused, in a dry run as well."""
    accounts = [one for one in documents if one["kind"] == "ServiceAccount"]
    text = yaml.safe_dump_all(accounts)
    if accounts:
        made = plane.kubectl("create", "-f", "-", stdin=text)
        assert made.returncode == 0, made.stderr
    try:
        yield
    finally:
        if accounts:
            plane.kubectl("delete", "-f", "-", stdin=text)


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_server_takes_every_object_of_the_chart(
    control_plane: ControlPlane, values: list[str]
) -> None:
    documents = rendered(*values)
    with accounts_of(control_plane, documents):
        assert dry_run(control_plane, *documents) == ""


def test_server_takes_every_definition(control_plane: ControlPlane) -> None:
    assert dry_run(control_plane, *rendered(chart=CRDS)) == ""


@pytest.mark.parametrize(
    ("kind", "end", "level"),
    [("Deployment", "-controller", "restricted"), ("Pod", "-test", "restricted")],
)
def test_pod_is_admitted_under_its_pod_security_standard(
    control_plane: ControlPlane, namespace: str, kind: str, end: str, level: str
) -> None:
    label = f"pod-security.kubernetes.io/enforce={level}"
    assert control_plane.kubectl("label", "namespace", namespace, label).returncode == 0
    pod = pod_of(of_kind(rendered(), kind, end))
    dry_run(control_plane, pod, namespace=namespace)
    privileged = copy.deepcopy(pod)
    privileged["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        dry_run(control_plane, privileged, namespace=namespace)


def pod_of(owner: Document) -> Document:
    """The pod that the chart makes, or that would be made by what it makes."""
    template = owner if owner["kind"] == "Pod" else owner["spec"]["template"]
    # Which account it runs as is no matter of this admission.
    spec = {
        key: value for key, value in template["spec"].items() if not key.startswith("serviceAcc")
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
