from __future__ import annotations

from pathlib import Path

import pytest
from culvert.compile.cache import CachedCompiler
from culvert.compile.packing import ENDPOINT_TYPE
from culvert.sources.manifests import ManifestSource

from tests.bench import large_world


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(large_world, "SERVICES", 20)
    large_world.write_large_world(tmp_path, "node-a")
    return tmp_path


def test_large_world_has_no_findings_and_all_its_endpoints(folder: Path) -> None:
    world = ManifestSource([folder]).read()
    desired = CachedCompiler("node-a").compile(world)
    assert desired.findings == ()
    assert len(world.services) == 20
    assert sum(len(one.endpoints) for one in world.endpoint_slices.values()) == 200
    assert len(desired.resources[ENDPOINT_TYPE]) == 20


def test_one_endpoints_change_is_one_resource(folder: Path) -> None:
    source, compiler = ManifestSource([folder]), CachedCompiler("node-a")
    before = compiler.compile(source.read()).resources
    large_world.write_service(folder, 7, "node-a", unready=frozenset({3}))
    after = compiler.compile(source.read()).resources
    changed = [
        (type_url, name)
        for type_url, resources in after.items()
        for name, one in resources.items()
        if before[type_url].get(name) != one
    ]
    assert changed == [(ENDPOINT_TYPE, "large/service-7|80")]
