"""A controller with the rights that the chart gives it, and what others do to its objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from culvert.embedded.control_plane import ControlPlane

from tests.kube.cluster import eventually
from tests.kube.replica import Replica, replicas
from tests.kube.rights import CONTROLLER, controllers_rights

LEASE, CONFIG_MAP = f"lease/{CONTROLLER}", f"configmap/{CONTROLLER}-ca"


@pytest.fixture
def rights(control_plane: ControlPlane, namespace: str) -> Iterator[Path]:
    """The chart's objects about the controller in the namespace; a kubeconfig of its account."""
    with controllers_rights(control_plane, namespace) as kubeconfig:
        yield kubeconfig


@pytest.fixture
def leader(
    control_plane: ControlPlane, namespace: str, rights: Path, tmp_path: Path
) -> Iterator[Replica]:
    with replicas(rights, namespace, tmp_path, "one") as (one,):
        yield one
    assert "Traceback" not in one.log.read_text()


def shown(plane: ControlPlane, namespace: str, what: str) -> dict[str, Any]:
    """One object; empty where it is not there."""
    done = plane.kubectl("--namespace", namespace, "get", what, "--output=json")
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {}


def holder(plane: ControlPlane, namespace: str) -> str:
    return str(shown(plane, namespace, LEASE).get("spec", {}).get("holderIdentity", ""))


def published(plane: ControlPlane, namespace: str) -> dict[str, str]:
    return dict(shown(plane, namespace, CONFIG_MAP).get("data", {}))


async def test_lease_and_config_map_that_somebody_deletes_come_back(
    control_plane: ControlPlane, namespace: str, leader: Replica
) -> None:
    await eventually(lambda: "ca.crt" in published(control_plane, namespace), "a certificate")
    before = published(control_plane, namespace)
    deleted = control_plane.kubectl("--namespace", namespace, "delete", LEASE, CONFIG_MAP)
    assert deleted.returncode == 0, deleted.stderr
    await eventually(
        lambda: holder(control_plane, namespace).startswith("one_"), "the Lease to be held again"
    )
    await eventually(
        lambda: published(control_plane, namespace) == before, "the certificate to be there again"
    )
    assert leader.process.poll() is None, "it leads as before"


async def test_labels_and_annotations_of_the_lease_stay(
    control_plane: ControlPlane, namespace: str, leader: Replica
) -> None:
    await eventually(lambda: leader.said('"leading"'), "it to lead")
    control_plane.kubectl("--namespace", namespace, "annotate", LEASE, "example.org/note=kept")
    renewed = shown(control_plane, namespace, LEASE)["spec"]["renewTime"]
    await eventually(
        lambda: shown(control_plane, namespace, LEASE)["spec"]["renewTime"] != renewed, "a renewal"
    )
    metadata = shown(control_plane, namespace, LEASE)["metadata"]
    assert metadata["labels"]["app.kubernetes.io/part-of"] == "culvert"
    assert metadata["annotations"]["example.org/note"] == "kept"


async def test_right_that_is_missing_is_told_with_its_object(
    control_plane: ControlPlane, namespace: str, rights: Path, tmp_path: Path
) -> None:
    gone = control_plane.kubectl("--namespace", namespace, "delete", f"role/{CONTROLLER}")
    assert gone.returncode == 0, gone.stderr
    with replicas(rights, namespace, tmp_path, "one") as (one,):
        await eventually(lambda: one.said('"warning"'), "a warning")
        told = next(line for line in one.log.read_text().splitlines() if '"warning"' in line)
    assert f"{namespace}/{CONTROLLER}" in told
    assert "403" in told
    assert "get, patch and create" in told
