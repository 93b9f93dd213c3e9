from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from culvert.embedded.mesh_node import BPFFS, MeshOptions
from culvert.rig import Rig, leftovers

from tests.e2e.town import Town


@pytest.fixture
def make_town() -> Iterator[Callable[[MeshOptions], Town]]:
    """Towns that are taken down at the end of the test, whatever happened; nothing may stay."""
    rigs: list[str] = []
    with ExitStack() as stack:

        def make(options: MeshOptions) -> Town:
            rig = stack.enter_context(Rig())
            rigs.append(rig.rig_id)
            town = Town(rig, options)
            stack.enter_context(town.mesh)
            return town

        yield make
    for rig_id in rigs:
        assert leftovers(rig_id) == []
        assert list(BPFFS.glob(f"culvert-{rig_id}-*")) == []


@pytest.fixture
def town(make_town: Callable[[MeshOptions], Town]) -> Town:
    return make_town(MeshOptions())
