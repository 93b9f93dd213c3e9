"""What owners say of traffic, done by the real Envoy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ENVOY = str(Path(sys.executable).with_name("envoy"))

pytestmark = pytest.mark.kernel


def probe(folder: Path, what: str) -> dict[str, Any]:
    ended = subprocess.run(
        # The process namespace ends, with all in it, when its first process does.
        [
            *("unshare", "--net", "--pid", "--fork", "--kill-child", sys.executable),
            *("-m", "tests.e2e.traffic_proxy"),
            *(str(folder), str(HERE / "traffic_proxy.yaml"), ENVOY, what),
        ],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    log = folder / "envoy.log"
    assert ended.returncode == 0, ended.stderr + (log.read_text() if log.exists() else "")
    answers: dict[str, Any] = json.loads(ended.stdout)
    return answers


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return probe(tmp_path_factory.mktemp("annotations"), "annotations")


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return probe(tmp_path_factory.mktemp("limits"), "limits")


Answers = dict[str, Any]


class TestAnnotations:
    def test_a_request_that_takes_too_long_is_answered_504(self, answers: Answers) -> None:
        assert answers["request_timeout"]["status"] == 504
        assert answers["no_timeout_elsewhere"]["status"] == 200

    def test_a_response_that_pauses_too_long_is_answered_504(self, answers: Answers) -> None:
        assert answers["idle_timeout"]["status"] == 504

    def test_an_idempotent_request_is_repeated_until_it_succeeds(self, answers: Answers) -> None:
        assert (answers["retried_get"]["status"], answers["retried_get"]["attempts"]) == (200, 3)

    def test_a_post_that_an_endpoint_saw_is_not_repeated(self, answers: Answers) -> None:
        assert (answers["retried_post"]["status"], answers["retried_post"]["attempts"]) == (503, 1)

    def test_nothing_that_an_endpoint_saw_is_repeated_by_default(self, answers: Answers) -> None:
        assert (answers["default_get"]["status"], answers["default_get"]["attempts"]) == (503, 1)

    def test_an_attempt_that_takes_too_long_is_followed_by_another(self, answers: Answers) -> None:
        assert (answers["per_try"]["status"], answers["per_try"]["attempts"]) == (200, 2)

    def test_no_retries_means_none(self, answers: Answers) -> None:
        assert (answers["unrepeated"]["status"], answers["unrepeated"]["attempts"]) == (503, 1)

    def test_a_post_that_no_endpoint_saw_is_repeated(self, answers: Answers) -> None:
        assert answers["half_dead"] == [200] * 20

    def test_a_port_speaks_what_the_annotation_says(self, answers: Answers) -> None:
        assert answers["relabelled"]["status"] == 200

    def test_a_client_gets_a_cookie_and_stays_where_it_leads(self, answers: Answers) -> None:
        assert answers["cookie_given"].startswith("session=")
        assert len(set(answers["cookie_kept"])) == 1

    def test_a_header_leads_to_one_endpoint_and_different_ones_to_all(
        self, answers: Answers
    ) -> None:
        assert len(set(answers["header_same"])) == 1
        assert len(set(answers["header_spread"])) == 2

    def test_endpoints_take_turns(self, answers: Answers) -> None:
        first, second = answers["robin"][:2]
        assert first != second
        assert answers["robin"] == [first, second] * 4


class TestTrafficPolicies:
    def test_a_policy_is_stronger_than_the_annotations(self, answers: Answers) -> None:
        assert answers["policy_timeout"]["status"] == 504

    def test_a_policy_for_a_port_is_stronger_than_the_one_for_its_service(
        self, answers: Answers
    ) -> None:
        governed = answers["policy_of_port"]
        assert (governed["status"], governed["attempts"]) == (200, 3)


class TestAccessLog:
    def test_every_request_is_logged_where_all_are_wanted(self, answers: Answers) -> None:
        lines = [line for line in answers["log"] if line["service"] == "shop/logged|80"]
        assert [(line["method"], line["path"], line["status"]) for line in lines] == [
            ("GET", "/", 200)
        ]

    def test_failures_alone_are_logged_where_those_are_wanted(self, answers: Answers) -> None:
        assert answers["failures_logged"] == [200, 503]
        lines = [line for line in answers["log"] if line["service"] == "shop/failures-logged|80"]
        assert [line["status"] for line in lines] == [503]

    def test_connections_of_opaque_ports_are_logged(self, answers: Answers) -> None:
        lines = [line for line in answers["log"] if line["service"] == "shop/opaque-logged|81"]
        assert [line["bytes_received"] for line in lines] == [len("bytes")]

    def test_failed_connections_are_logged_where_those_are_wanted(self, answers: Answers) -> None:
        assert not any(seen.get("greeting") for seen in answers["opaque_failing"])
        lines = [line for line in answers["log"] if line["service"] == "shop/opaque-failing|81"]
        assert [line["flags"] for line in lines] == ["UH"]

    def test_nothing_else_is_logged(self, answers: Answers) -> None:
        assert {line["service"] for line in answers["log"]} == {
            "shop/logged|80",
            "shop/failures-logged|80",
            "shop/opaque-logged|81",
            "shop/opaque-failing|81",
        }

    def test_no_secret_is_logged(self, answers: Answers) -> None:
        assert answers["logged"]["status"] == 200
        assert "secret" not in json.dumps(answers["log"])


class TestLimits:
    def test_a_request_over_the_limit_is_refused_while_others_run(self, limited: Answers) -> None:
        assert limited["second"]["status"] == 503
        assert limited["second"]["attempts"] == 0
        assert limited["first"]["status"] == 200

    def test_an_endpoint_that_keeps_failing_is_left_out(self, limited: Answers) -> None:
        assert sorted(limited["ejected"]) == [200] * 18 + [503] * 2
        assert limited["ejected"][-10:] == [200] * 10
