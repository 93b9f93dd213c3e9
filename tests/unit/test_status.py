from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer
from culvert.cli import status as status_command
from culvert.cli.main import application
from culvert.status.document import (
    AgentStatus,
    CaseLine,
    FindingLine,
    MapStatus,
    ProxyStatus,
    SourceStatus,
    VerdictCount,
)
from culvert.status.metrics import StatusCollector
from culvert.status.server import make_application
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner


def document(*, ready: bool = True) -> AgentStatus:
    return AgentStatus(
        node="node-a",
        version="0.1.0",
        ready=ready,
        generation=3,
        applied_generation=3 if ready else 2,
        capture="attached",
        acceleration="on-request",
        acceleration_reason="fionread-tcp: says 0",
        kernel="6.18",
        source_sha256="ab" * 32,
        program_tags={},
        self_test=[CaseLine("ordering", True, "in order"), CaseLine("fionread-tcp", False, "0")],
        captured_cgroup_ids=[7],
        proxy_listeners=8,
        proxies=[ProxyStatus("node-a", True, [])],
        maps=[MapStatus("cv_pods", 2, 1024)],
        verdicts={
            "send_redirected": VerdictCount(5, 500),
            "connect_redirected": VerdictCount(1, 0),
        },
        source=SourceStatus("kubernetes", synced=True, stale_since_seconds={"Service": 1.0}),
        findings=[FindingLine("CV0101", "error", "a.yaml", "", "not YAML", "mend it")],
    )


async def test_metrics_hold_each_verdict_with_its_bytes() -> None:
    registry = CollectorRegistry()
    registry.register(StatusCollector(document))
    async with TestClient(TestServer(make_application(document, registry))) as client:
        text = await (await client.get("/metrics")).text()
    assert 'culvert_redirects_total{verdict="send_redirected"} 5.0' in text
    assert 'culvert_send_bytes_total{verdict="send_redirected"} 500.0' in text
    assert 'verdict="connect_redirected"} 0.0' not in text
    assert 'culvert_map_capacity{map="cv_pods"} 1024.0' in text
    assert 'culvert_findings{code="CV0101"} 1.0' in text
    assert 'culvert_source_stale_since_seconds{kind="Service"} 1.0' in text
    assert 'culvert_acceleration{state="on-request"} 1.0' in text
    assert 'culvert_self_test_passed{case="fionread-tcp"} 0.0' in text


@pytest.mark.parametrize(("ready", "code"), [(True, 200), (False, 503)])
async def test_readiness_follows_the_applied_world(ready: bool, code: int) -> None:
    served = make_application(lambda: document(ready=ready), CollectorRegistry())
    async with TestClient(TestServer(served)) as client:
        assert (await client.get("/readyz")).status == code
        assert (await client.get("/healthz")).status == 200
        body = await (await client.get("/status")).read()
    assert msgspec.json.decode(body, type=AgentStatus) == document(ready=ready)


def test_status_command_says_when_no_agent_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_command, "RUN_DIRECTORY", tmp_path)
    result = CliRunner().invoke(application, ["status"])
    assert result.exit_code == 1
    assert "is one running?" in " ".join(result.output.split())


def test_status_command_names_the_socket_that_is_silent(tmp_path: Path) -> None:
    result = CliRunner().invoke(application, ["status", "--socket", str(tmp_path / "s.sock")])
    assert result.exit_code == 1
    assert "no agent answers" in result.output
