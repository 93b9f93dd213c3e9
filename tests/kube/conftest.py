"""One real control plane for all tests of a session, and a namespace of its own for each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

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
def own_control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A second one, in which nothing happens but what the test does."""
    with ControlPlane(tmp_path / "control-plane", names=NODE_ADDRESSES) as plane:
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """The name of a fresh namespace in which pods can be made, deleted afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    made = control_plane.kubectl("create", "namespace", name)
    assert made.returncode == 0, made.stderr
    # Without it every pod is refused. The controller manager would make it in its own time, which
    # is long after a restart of the API server.
    account = control_plane.kubectl("--namespace", name, "create", "serviceaccount", "default")
    assert account.returncode == 0 or "already exists" in account.stderr, account.stderr
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def definitions(control_plane: ControlPlane) -> Iterator[None]:
    """The kinds of ``culvert.dev``, with every object of theirs gone afterwards."""
    with definitions_of(control_plane):
        yield
