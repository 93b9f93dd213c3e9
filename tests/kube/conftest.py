"""One real control plane for all tests of a session, and a namespace of its own for each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from culvert.embedded.control_plane import ControlPlane

from tests.kube.definitions import definitions_of

RIG_NODE_ADDRESSES = tuple(f"10.99.0.{number}" for number in range(1, 10))
"""A relay on each node of a rig makes the API server look as if it were there."""


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd, kube-apiserver and kube-controller-manager."""
    directory = tmp_path_factory.mktemp("control-plane")
    with ControlPlane(directory, names=RIG_NODE_ADDRESSES) as plane:
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """The name of a fresh namespace, deleted afterwards."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    made = control_plane.kubectl("create", "namespace", name)
    assert made.returncode == 0, made.stderr
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def definitions(control_plane: ControlPlane) -> Iterator[None]:
    """The kinds of ``culvert.dev``, with every object of theirs gone afterwards."""
    with definitions_of(control_plane):
        yield
