from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from culvert.compile.cache import CachedCompiler
from culvert.compile.packing import ENDPOINT_TYPE
from culvert.kube.collection import Collection
from culvert.kube.envelope import metadata_of
from culvert.model.key import ObjectKey
from culvert.model.world import World
from culvert.sources.kubernetes.kinds import agent_kinds

from tests.bench import synthetic_world
from tests.bench.propagation_document import NOT_MEASURED, render_propagation
from tests.bench.propagation_error import NotAppliedError
from tests.bench.propagation_figures import (
    ENDPOINTS_CHANGED,
    SERVICE_ADDED,
    Propagation,
    UnderLoad,
    WorldFigures,
    from_json,
    percentile,
    to_json,
)
from tests.bench.propagation_node import AppliedLog, applied_of
from tests.bench.propagation_world import side_by_side
from tests.bench.synthetic_world import Document, WorldSize

_MEASURED = Propagation(
    machine={"CPU": "a machine, 2 threads"},
    command="make bench",
    worlds=[
        WorldFigures(
            services=1000,
            endpoints=10_000,
            nodes=100,
            sync_seconds=2.5,
            sync_cpu_seconds=1.5,
            agent_bytes=100 << 20,
            agent_peak_bytes=101 << 20,
            envoy_bytes=102 << 20,
            delays_seconds={ENDPOINTS_CHANGED: [0.04, 0.05, 0.09], SERVICE_ADDED: [0.06]},
            under_load=UnderLoad(60.0, 3000, [0.1, 0.2], 300, 6.0, 3.0, 103 << 20, 104 << 20),
        )
    ],
)


def test_synthetic_world_is_read_whole_and_without_findings() -> None:
    size = WorldSize(20)
    world = _world(size)
    desired = CachedCompiler("node-a").compile(world)
    assert desired.findings == ()
    assert (len(world.nodes), len(world.workloads), len(world.services)) == (2, 200, 20)
    assert len(desired.resources[ENDPOINT_TYPE]) == 20
    # One for each Service, one for each pod.
    assert len(desired.redirect.destinations) == 220


def test_larger_world_adds_to_a_smaller_one() -> None:
    whole = dict(synthetic_world.stored_objects(WorldSize(0), WorldSize(20)))
    parts = dict(synthetic_world.stored_objects(WorldSize(0), WorldSize(10)))
    added = dict(synthetic_world.stored_objects(WorldSize(10), WorldSize(20)))
    assert not parts.keys() & added.keys()
    assert parts | added == whole


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(1, 501)]
    assert percentile(values, 50) == 250.0
    assert percentile(values, 99) == 495.0
    assert percentile([3.0], 99) == 3.0
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 50)


def test_line_of_another_event_or_a_traceback_says_nothing() -> None:
    assert applied_of("Traceback (most recent call last):") is None
    assert applied_of('{"event": "finding", "timestamp": "2026-01-01T00:00:00Z"}') is None


def test_change_is_applied_when_its_own_kind_has_come_so_far() -> None:
    applied = applied_of(_line({"Service": "9", "EndpointSlice": "20", "MeshConfig": ""}))
    assert applied is not None
    assert applied.has("Service", 9)
    assert not applied.has("Service", 10)
    assert not applied.has("MeshConfig", 1)
    assert applied.unix_seconds == 1767225600.25


async def test_log_is_followed_from_its_end_and_a_line_that_is_not_whole_waits(
    tmp_path: Path,
) -> None:
    path = tmp_path / "agent.log"
    path.write_text(_line({"Service": "1"}) + "\n")
    log = AppliedLog(path)
    with path.open("a") as writing:
        writing.write(_line({"Service": "2"}) + "\n" + _line({"Service": "3"})[:30])
        writing.flush()
        assert (await log.until("Service", 2)).resource_versions == {"Service": "2"}
        writing.write(_line({"Service": "3"})[30:] + "\n")
        writing.flush()
        assert (await log.until("Service", 3)).resource_versions == {"Service": "3"}
    assert len(log.applied) == 2


async def test_first_failure_of_many_at_a_time_is_the_one_that_is_raised() -> None:
    done: list[int] = []

    async def act(number: int) -> None:
        if number == 5:
            raise NotAppliedError("five")
        done.append(number)

    with pytest.raises(NotAppliedError, match="five"):
        await side_by_side(act, range(100), 3)
    await side_by_side(act, range(5), 3)
    assert {0, 1, 2, 3, 4} <= set(done)


def test_table_has_a_column_for_each_world_with_median_and_tail() -> None:
    lines = render_propagation(_MEASURED).splitlines()
    assert lines[0] == "|  | 1,000 Services |"
    assert "| an endpoint's readiness: p50 / p99 | 50 / 90 ms |" in lines
    assert "| processor time of the agent, of one processor | 10 % |" in lines
    assert render_propagation(None) == NOT_MEASURED


def test_figures_survive_json() -> None:
    assert from_json(to_json(_MEASURED)) == _MEASURED


def _line(resource_versions: dict[str, str]) -> str:
    return json.dumps(
        {
            "event": "world applied",
            "timestamp": "2026-01-01T00:00:00.250000Z",
            "resource_versions": resource_versions,
        }
    )


def _world(size: WorldSize) -> World:
    """What an agent makes of it, as the API server would send it."""
    documents: dict[str, list[Document]] = {
        "Namespace": [synthetic_world.namespace()],
        "Service": [synthetic_world.service(n) for n in range(size.services)],
        "EndpointSlice": [synthetic_world.endpoint_slice(n) for n in range(size.services)],
    }
    for key, document in synthetic_world.stored_objects(WorldSize(0), size):
        name = "Node" if key.startswith("/registry/minions/") else "Pod of other nodes"
        documents.setdefault(name, []).append(document)
    fields: dict[str, object] = {}
    for kind in agent_kinds("node-a"):
        if kind.name not in documents:
            continue
        collection = Collection(kind.decode)
        for document in documents[kind.name]:
            raw = msgspec.Raw(msgspec.json.encode(document))
            collection.put(metadata_of(raw), raw)
        assert collection.findings == ()
        items: dict[ObjectKey, object] = dict(collection.items)
        fields[kind.field] = kind.arrange(items)
    return msgspec.structs.replace(World(), **fields)
