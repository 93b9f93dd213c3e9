from __future__ import annotations

from dataclasses import replace

from culvert.embedded.demo.cast import Spoken
from culvert.embedded.demo.readings import (
    ClientReading,
    EnvoyReading,
    KernelReading,
    NodeReading,
    Reading,
    read_client,
    read_envoy,
    read_kernel,
    shortcomings,
)
from culvert.status.document import VerdictCount

HTTP = Spoken("http", is_http=True)
TCP = Spoken("tcp", is_http=False)
LINE = '{"at_s": 1.0, "requests": 10, "failures": 1, "p50_ms": 1.5, "p99_ms": 3.0, "bytes": 5, '
LINE += '"answers": {"web-1": 9}, "reasons": {"timeout": 1}}'
CLIENT = ClientReading("shopper", "node-a", "web", HTTP, requests=5)
KERNEL = KernelReading("on", captured=1, sockmap_sends=10, sockmap_bytes=100)
NODE = NodeReading("node-a", EnvoyReading(requests=5), KERNEL)


def reading(client: ClientReading = CLIENT, node: NodeReading = NODE) -> Reading:
    return Reading(1.0, (client,), (node,), ())


def test_client_lines_add_up_and_a_torn_line_is_left_out() -> None:
    client = read_client("shopper", "node-a", "web", HTTP, [LINE, LINE, LINE[:20]])
    assert (client.requests, client.failures, client.per_second) == (20, 2, 10)
    assert client.received_bytes == 10
    assert client.reasons == {"timeout": 2}
    assert client.answers == ("web-1",)


def test_summary_line_counts_nothing_twice() -> None:
    total = LINE.replace('{"at_s": 1.0', '{"summary": true')
    assert read_client("shopper", "node-a", "web", HTTP, [LINE, total]).requests == 10


def test_envoy_counters_of_its_own_management_are_left_out() -> None:
    envoy = read_envoy(
        {
            "http.service_http.downstream_rq_total": 7,
            "http.pod_http.downstream_rq_total": 1,
            "http.admin.downstream_rq_total": 1000,
            "http.service_http.downstream_cx_rx_bytes_total": 10,
            "http.admin.downstream_cx_tx_bytes_total": 1000,
            "tcp.service_tcp.downstream_cx_total": 3,
            "tcp.service_tcp.downstream_cx_tx_bytes_total": 20,
            "cluster.shop/web|80.upstream_cx_tx_bytes_total": 40,
            "cluster.xds.upstream_cx_rx_bytes_total": 1000,
        }
    )
    assert envoy == EnvoyReading(
        requests=8, tcp_connections=3, tcp_sent_bytes=20, moved_bytes=10 + 20 + 40
    )


def test_sends_are_told_apart_by_path_and_reason() -> None:
    kernel = read_kernel(
        "on",
        {
            "send_redirected": VerdictCount(3, 300),
            "send_tcp_budget": VerdictCount(1, 100),
            "send_tcp_off": VerdictCount(0, 0),
            "connect_redirected": VerdictCount(2, 0),
        },
    )
    assert (kernel.captured, kernel.sockmap_bytes, kernel.tcp_bytes) == (2, 300, 100)
    assert kernel.tcp_reasons == {"budget": 1}


def test_share_is_of_all_bytes_in_and_out_of_envoy() -> None:
    kernel = KernelReading("on", sockmap_bytes=300, tcp_bytes=100)
    node = NodeReading("node-a", EnvoyReading(moved_bytes=600), kernel)
    assert node.other_bytes == 200
    assert node.sockmap_share == 0.5


def test_sound_reading_has_no_shortcoming() -> None:
    assert shortcomings(reading()) == []


def test_failed_requests_are_named_with_their_reasons() -> None:
    assert shortcomings(reading(replace(CLIENT, failures=2, reasons={"timeout": 2}))) == [
        "shopper: 2 requests failed (2x timeout)"
    ]


def test_a_client_that_policies_refuse_must_get_nothing() -> None:
    kept_out = replace(CLIENT, is_refused=True, failures=2, requests=0)
    sound = reading(kept_out, replace(NODE, envoy=EnvoyReading(tcp_connections=2)))
    assert shortcomings(sound) == []
    assert (sound.failures, sound.refusals, sound.requests) == (0, 2, 0)
    assert shortcomings(reading(replace(kept_out, requests=1))) == [
        "shopper: 1 calls answered that policies refuse"
    ]


def test_silent_client_is_named() -> None:
    assert shortcomings(reading(replace(CLIENT, requests=0))) == [
        "shopper: no request was answered"
    ]


def test_traffic_around_envoy_is_named() -> None:
    assert shortcomings(reading(replace(CLIENT, requests=6))) == [
        "node-a: 6 requests, 5 crossed Envoy"
    ]
    ledger = replace(CLIENT, protocol=TCP, received_bytes=9)
    assert shortcomings(reading(ledger)) == ["node-a: 9 bytes by TCP, 0 crossed Envoy"]
    idle = replace(NODE, name="node-b", envoy=EnvoyReading())
    assert shortcomings(reading(node=idle)) == ["node-b: nothing crossed Envoy"]


def test_idle_sockhash_is_named_unless_acceleration_is_off() -> None:
    kernel = replace(KERNEL, sockmap_sends=0)
    assert shortcomings(reading(node=replace(NODE, kernel=kernel))) == [
        "node-a: nothing went socket to socket"
    ]
    off = replace(kernel, acceleration="off")
    assert shortcomings(reading(node=replace(NODE, kernel=off))) == []


def test_town_without_clients_is_named() -> None:
    assert shortcomings(Reading(1.0, (), (NODE,), ())) == [
        "no pod is a client: annotate one with demo.example/calls: <Service>"
    ]
