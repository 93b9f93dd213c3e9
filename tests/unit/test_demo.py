from __future__ import annotations

from dataclasses import replace

from culvert.embedded.demo.readings import (
    ClientReading,
    NodeReading,
    Reading,
    read_client,
    read_node,
    shortcomings,
)
from culvert.embedded.demo.scenario import SCENARIO, due, scaled, with_session_affinity
from culvert.embedded.demo.view import short_name
from culvert.status.document import VerdictCount

LINE = '{"at_s": 1.0, "requests": 10, "failures": 1, "p50_ms": 1.5, "p99_ms": 3.0, "bytes": 5, '
LINE += '"answers": {"web-1": 9}, "reasons": {"timeout": 1}}'
CLIENT = ClientReading("shopper", "node-a", "web", requests=5)
NODE = NodeReading("node-a", "on", 5, 0, 1, 10, 100, 0, 0, {})


def test_client_lines_add_up_and_a_torn_line_is_left_out() -> None:
    reading = read_client("shopper", "node-a", "web", [LINE, LINE, LINE[:20]])
    assert (reading.requests, reading.failures, reading.per_second) == (20, 2, 10)
    assert reading.reasons == {"timeout": 2}
    assert reading.answers == ("web-1",)


def test_summary_line_counts_nothing_twice() -> None:
    total = LINE.replace('{"at_s": 1.0', '{"summary": true')
    assert read_client("shopper", "node-a", "web", [LINE, total]).requests == 10


def test_share_is_of_all_bytes_that_enrolled_sockets_sent() -> None:
    verdicts = {
        "send_redirected": VerdictCount(3, 300),
        "send_tcp_budget": VerdictCount(1, 100),
        "send_tcp_off": VerdictCount(0, 0),
        "connect_redirected": VerdictCount(2, 0),
    }
    node = read_node("node-a", "on", verdicts, {"http.service_http.downstream_rq_total": 7})
    assert node.sockmap_share == 0.75
    assert node.tcp_reasons == {"budget": 1}
    assert node.envoy_requests == 7


def test_sound_reading_has_no_shortcoming() -> None:
    assert shortcomings(Reading(1.0, (CLIENT,), (NODE,), ())) == []


def test_each_shortcoming_is_named() -> None:
    client = replace(CLIENT, failures=2, reasons={"timeout": 2})
    node = replace(NODE, envoy_requests=0, sockmap_sends=0)
    found = shortcomings(Reading(1.0, (client, replace(CLIENT, requests=0)), (node,), ()))
    assert found == [
        "shopper: 2 requests failed (2x timeout)",
        "shopper: no request was answered",
        "node-a: nothing crossed Envoy",
        "node-a: nothing went socket to socket",
    ]


def test_steps_come_one_by_one_in_their_order() -> None:
    assert due(0.0, 0) is None
    assert due(SCENARIO[0].share, 0) is SCENARIO[0]
    assert due(0.99, 1) is SCENARIO[1]
    assert due(1.0, len(SCENARIO)) is None


def test_only_the_named_object_is_edited() -> None:
    web = {"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2}}
    other = {"kind": "Deployment", "metadata": {"name": "prices"}, "spec": {"replicas": 2}}
    assert scaled(web, "web", 4)["spec"]["replicas"] == 4
    assert web["spec"] == {"replicas": 2}
    assert scaled(other, "web", 4) == other
    assert with_session_affinity(web, "web") == web


def test_pod_is_shown_without_its_template_hash() -> None:
    assert short_name("web-689b889170-7dqnz") == "web-7dqnz"
    assert short_name("booker") == "booker"
