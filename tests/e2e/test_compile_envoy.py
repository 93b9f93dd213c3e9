"""What the compiler writes, in the real Envoy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from culvert.compile.node import compile_node

from tests.e2e.compiled_proxy import static_bootstrap
from tests.golden.case import read_case

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVOY = str(Path(sys.executable).with_name("envoy"))

Answers = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    folder = tmp_path_factory.mktemp("proxy")
    probe = subprocess.run(
        # The process namespace ends, with all in it, when its first process does.
        [
            *("unshare", "--net", "--pid", "--fork", "--kill-child", sys.executable),
            *("-m", "tests.e2e.compiled_proxy"),
            *(str(folder), str(HERE / "compiled_proxy.yaml"), ENVOY),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    log = folder / "envoy.log"
    assert probe.returncode == 0, probe.stderr + (log.read_text() if log.exists() else "")
    answered: Answers = json.loads(probe.stdout)
    return answered


@pytest.mark.kernel
class TestTraffic:
    def test_http_request_arrives_as_it_was_sent(self, answers: Answers) -> None:
        assert answers["http"]["request"] == (
            "GET /a//b%2Fc/../d?e HTTP/1.1\r\nHost: web\r\nX-CamelReq: 1\r\n\r\n"
        )

    def test_http_response_gets_a_date_and_nothing_else(self, answers: Answers) -> None:
        names = [name for name, _ in answers["http"]["headers"]]
        assert names == ["X-CamelCase", "Content-Length", "date"]

    def test_ipv6_destination_is_routed(self, answers: Answers) -> None:
        assert answers["http_ipv6"]["status"] == 200

    def test_client_cannot_choose_its_route_by_header(self, answers: Answers) -> None:
        assert answers["spoofed"]["status"] == 200
        assert "culvert" not in answers["spoofed"]["request"].lower()

    def test_forwarded_headers_of_the_client_are_kept(self, answers: Answers) -> None:
        assert answers["forwarded"]["request"].splitlines()[1:-1] == [
            "Host: web",
            "X-Forwarded-For: 10.9.9.9",
            "X-Request-Id: mine",
            "X-Forwarded-Proto: https",
        ]

    def test_service_without_endpoints_answers_503(self, answers: Answers) -> None:
        assert answers["no_endpoint"]["status"] == 503

    def test_destination_that_the_proxy_does_not_know_is_refused(self, answers: Answers) -> None:
        assert answers["unknown"]["status"] == 404
        assert not answers["tcp_unknown"].get("greeting")

    def test_opaque_service_lets_the_server_speak_first_and_half_close(
        self, answers: Answers
    ) -> None:
        assert answers["tcp"] == {"greeting": "hello\n", "answer": "got bytes"}

    def test_service_with_affinity_is_reached(self, answers: Answers) -> None:
        assert answers["sticky"]["greeting"] == "hello\n"

    def test_pod_addresses_are_reached_by_http_and_tcp(self, answers: Answers) -> None:
        assert answers["pod_http"]["status"] == 200
        assert answers["pod_tcp"]["greeting"] == "hello\n"

    def test_opaque_service_without_endpoints_is_closed(self, answers: Answers) -> None:
        assert not answers["tcp_no_endpoint"].get("greeting")

    def test_proxy_called_directly_does_not_call_itself(self, answers: Answers) -> None:
        direct = {name: seen for name, seen in answers.items() if name.startswith("listener")}
        assert len(direct) == 8
        assert all("error" in seen for seen in direct.values()), direct
        assert answers["after"]["status"] == 200


@pytest.mark.parametrize(
    "name", ["protocols", "dual-stack", "session-affinity", "traffic-distribution", "headless"]
)
def test_envoy_accepts_what_a_golden_case_compiles_to(name: str, tmp_path: Path) -> None:
    case = read_case(ROOT / "tests" / "golden" / name)
    bootstrap = static_bootstrap(compile_node(case.world, case.node), tmp_path)
    check = subprocess.run(
        [ENVOY, "--mode", "validate", "-c", str(bootstrap), "-l", "warning"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stderr
    assert "warning" not in check.stderr
