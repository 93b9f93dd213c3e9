"""One real control plane for all tests of a session, and a namespace of its own for each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from culvert.embedded.control_plane import ControlPlane
from culvert.embedded.kube_cluster import NODE_ADDRESSES

from tests.kube.definitions import definitions_of


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager."""
    directory = tmp_path_factory.mktemp("control-plane")
    with ControlPlane(directory, names=NODE_ADDRESSES) as plane:
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """The name of a fresh namespace in which pods can be made, deleted afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    made = control_plane.kubectl("create", "namespace", name)
    assert made.returncode == 0, made.stderr
    # Until the controller manager has made it, every pod is refused.
    account = ("wait", "serviceaccount/default", "--for=create", "--timeout=60s")
    waited = control_plane.kubectl("--namespace", name, *account)
    assert waited.returncode == 0, waited.stderr
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def definitions(control_plane: ControlPlane) -> Iterator[None]:
    """The kinds of ``culvert.dev``, with every object of theirs gone afterwards."""
    with definitions_of(control_plane):
        yield
