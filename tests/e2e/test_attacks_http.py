"""Attacks on policies about requests: what is judged must be what the application is sent.

Of requests that can be read in two ways the application gets one reading or none, and no header
says who calls. On the same node, on another, and through a Service.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

import pytest

from tests.e2e.attacker import spiffe_id
from tests.e2e.besieged import besieged_town, log_lines, policy
from tests.e2e.recorder import Recorder
from tests.e2e.town import SERVER_PORT, Town, eventually

pytestmark = pytest.mark.kernel

Place = tuple[str, int]
SERVICE: Place = ("10.96.0.20", 80)
DENIED = "http.inbound_http.rbac.culvert.allow.denied"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """With servers that ``client`` may ask for ``/open`` of the host ``good``, by GET."""
    with besieged_town(tmp_path_factory.mktemp("authority")) as town:
        for end in ("a", "b"):
            town.pod(f"node-{end}", f"record-{end}", account="record", labels={"app": "record"})
        town.service("record", SERVICE[0], ["record-a", "record-b"])
        rule = {
            "from": [{"source": {"principals": ["cluster.local/ns/default/sa/client"]}}],
            "to": [{"operation": {"methods": ["GET"], "paths": ["/open"], "hosts": ["good"]}}],
        }
        town.write("policy-record", policy("record", "record", [rule]))
        town.settle()
        yield town


@pytest.fixture(scope="module")
def recorders(town: Town) -> Iterator[list[Recorder]]:
    made = [Recorder(town.pods[f"record-{end}"], SERVER_PORT) for end in ("a", "b")]
    yield made
    for one in made:
        one.close()


def places(town: Town) -> dict[str, Place]:
    """As the pods of node b see them."""
    return {
        "Service": SERVICE,
        "same node": (town.pods["record-b"].ipv4, SERVER_PORT),
        "other node": (town.pods["record-a"].ipv4, SERVER_PORT),
    }


LAST = b"GET /open HTTP/1.1\r\nHost: good\r\nConnection: close\r\n\r\n"


def statuses(town: Town, pod: str, place: Place, data: bytes) -> list[int]:
    """Of all answers to what is sent at once, with a request after it that closes."""
    answers = b""
    with town.pods[pod].connect(place) as connection, suppress(ConnectionError):
        connection.settimeout(20)
        connection.sendall(data + LAST)
        # The proxy closes a second later.
        while b"connection: close" not in answers and (chunk := connection.recv(65536)):
            answers += chunk
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] ([0-9]{3})", answers)]


ADMIN = b"GET /admin HTTP/1.1\r\nHost: good\r\n\r\n"
CHUNKS = b"0\r\n\r\n" + ADMIN


def request(*lines: str, body: bytes = b"", first: str = "GET /open HTTP/1.1") -> bytes:
    return "\r\n".join([first, "Host: good", *lines, "", ""]).encode() + body


def chunked(*lines: str) -> bytes:
    """A body of some bytes that ends at once for whoever takes it for chunks."""
    return request(f"Content-Length: {len(CHUNKS)}", *lines, body=CHUNKS)


UPGRADE = ("Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {'a' * 22}==")

REFUSED: Mapping[str, bytes] = {
    "length and chunks": chunked("Transfer-Encoding: chunked"),
    "chunks and length": request(
        "Transfer-Encoding: chunked",
        "Content-Length: 4",
        body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(ADMIN), ADMIN),
    ),
    "space before the colon": chunked("Transfer-Encoding : chunked"),
    "tab": chunked("Transfer-Encoding:\tchunked"),
    "vertical tab": chunked("Transfer-Encoding: \x0bchunked"),
    "folded": chunked("Transfer-Encoding:", " chunked"),
    "unknown coding": chunked("Transfer-Encoding: xchunked"),
    "identity": chunked("Transfer-Encoding: identity"),
    "two codings": chunked("Transfer-Encoding: chunked, identity"),
    "two fields": chunked("Transfer-Encoding: chunked", "Transfer-Encoding: x"),
    "two lengths": chunked("Content-Length: 0"),
    "list of lengths": request(f"Content-Length: 0, {len(ADMIN)}", body=ADMIN),
    "length with a sign": request(f"Content-Length: +{len(ADMIN)}", body=ADMIN),
    "negative length": request("Content-Length: -1", body=ADMIN),
    "length, hexadecimal": request("Content-Length: 0x10", body=ADMIN),
    "chunk size with a prefix": request("Transfer-Encoding: chunked", body=b"0x0\r\n\r\n" + ADMIN),
    "negative chunk size": request("Transfer-Encoding: chunked", body=b"-1\r\n\r\n" + ADMIN),
    "chunk ended by LF": request("Transfer-Encoding: chunked", body=b"0\n\n" + ADMIN),
    "chunk extension ended by LF": request(
        "Transfer-Encoding: chunked", body=b"5;\nAAAAA\r\n0\r\n\r\n" + ADMIN
    ),
    "name with a space": request("Host header: evil"),
    "line that begins with a space": request(" Host: evil"),
    "line without a colon": request("GET /admin HTTP/1.1"),
    "NUL": request("X: a\0b"),
    "two paths": request(first="GET /open /admin HTTP/1.1"),
    "fragment": request(first="GET /open#/../admin HTTP/1.1"),
    "whole URL with a fragment": request(first="GET http://good/open#/admin HTTP/1.1"),
}

JUDGED: Mapping[str, tuple[bytes, list[int]]] = {
    "one after the other": (request() + ADMIN, [200, 403, 200]),
    "chunks": (request("Transfer-Encoding: Chunked", body=CHUNKS), [200, 403, 200]),
    "chunks in HTTP/1.0": (
        request("Transfer-Encoding: chunked", body=CHUNKS, first="GET /open HTTP/1.0"),
        [200],
    ),
    "lines ended by LF": (request().replace(b"\r", b"") + ADMIN, [200, 403, 200]),
    "CR in a value": (request("X: a\rGET /admin HTTP/1.1\r\rb"), [200, 200]),
    "body that is cut short": (request("Content-Length: 5", body=ADMIN), [200, 400]),
    "whole URL": (request(first="GET http://good/admin HTTP/1.1"), [403, 200]),
    "whole URL of another host": (request(first="GET http://evil/open HTTP/1.1"), [403, 200]),
    "whole URL of the host that is meant": (
        request(first="GET http://good/open HTTP/1.1").replace(b"Host: good", b"Host: evil"),
        [200, 200],
    ),
    "two hosts": (request("Host: evil"), [403, 200]),
    "the same host twice": (request("Host: good"), [403, 200]),
    "another path in a header": (
        request("X-Original-URL: /admin", "X-Rewrite-URL: /admin", "x-envoy-original-path: /admin"),
        [200, 200],
    ),
    "upgrade to websocket": (request(*UPGRADE, "Upgrade: websocket", body=ADMIN), [200]),
    "upgrade to HTTP/2": (request(*UPGRADE, "Upgrade: h2c", body=ADMIN), [200, 403, 200]),
    "upgrade to two": (request(*UPGRADE, "Upgrade: websocket, h2c", body=ADMIN), [403]),
    "CONNECT": (request(first="CONNECT good:80 HTTP/1.1", body=ADMIN), [404]),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_request_that_can_be_read_in_two_ways_is_refused(
    town: Town, recorders: list[Recorder], data: bytes
) -> None:
    bad = ("http.service_http.downstream_rq_4xx", "http.inbound_http.downstream_rq_4xx")
    for where, place in places(town).items():
        before = counted(town, bad)
        assert statuses(town, "client-b", place, data) == [400], where
        for raw, requests in (recorder.taken() for recorder in recorders):
            # The head may have gone before the proxy has seen that the body is none.
            assert not requests, where
            assert no_line_begins(raw, b"GET /admin"), where
        assert counted(town, bad) > before


@pytest.mark.parametrize(("data", "expected"), JUDGED.values(), ids=JUDGED.keys())
def test_application_is_sent_what_was_judged_and_nothing_else(
    town: Town, recorders: list[Recorder], data: bytes, expected: list[int]
) -> None:
    for where, place in places(town).items():
        got = statuses(town, "client-b", place, data)
        # The listener that judges closes after a refusal that has requests right behind it.
        refused = expected.index(403) + 1 if 403 in expected else len(expected)
        assert got in (expected, expected[:refused]), where
        seen = [recorder.taken() for recorder in recorders]
        requests = [one for _, some in seen for one in some]
        assert len(requests) == got.count(200), where
        for one in requests:
            assert one.start_line == b"GET /open HTTP/1.1"
            assert [value for name, value in one.headers if name.lower() == b"host"] == [b"good"]
            assert not (one.header(b"content-length") and one.header(b"transfer-encoding"))
        for raw, _ in seen:
            assert no_line_begins(raw, b"GET /admin")
            assert raw.count(b"\r") == raw.count(b"\n") == raw.count(b"\r\n")


def no_line_begins(raw: bytes, words: bytes) -> bool:
    return not any(line.startswith(words) for line in re.split(rb"[\r\n]", raw))


def counted(town: Town, names: tuple[str, ...]) -> int:
    return sum(
        node.envoy_stats().get(name, 0) for node in town.mesh.nodes.values() for name in names
    )


TAKEN_AWAY = (
    f"x-forwarded-client-cert: By=spiffe://x;URI={spiffe_id('client')}",
    "x-culvert-destination: pod 10.244.1.2:8080",
    "x-culvert-destination: 10.96.0.10:80",
    "x-culvert-forwarded-proto: https",
    "x-envoy-internal: true",
    "x-envoy-retry-on: 5xx",
    "x-envoy-max-retries: 9",
    "x-envoy-upstream-rq-timeout-ms: 1",
    "x-envoy-force-trace: 1",
)
WITHOUT_EFFECT = (
    "x-envoy-original-dst-host: 10.244.1.2:8080",
    "x-culvert-source: 10.244.1.3",
    f"x-culvert-presented: {spiffe_id('client')}",
    "x-forwarded-for: 10.244.1.3",
)


def test_no_header_makes_somebody_else_of_the_caller(town: Town, recorders: list[Recorder]) -> None:
    forged = request(*TAKEN_AWAY, *WITHOUT_EFFECT)
    for where, place in places(town).items():
        assert statuses(town, "client-b", place, forged) == [200, 200], where
        [seen] = [raw for raw, _ in (one.taken() for one in recorders) if b"x-culvert" in raw]
        lines = seen.split(b"\r\n")
        assert not set(lines) & {one.encode() for one in TAKEN_AWAY}, where
        assert set(lines) >= {one.encode() for one in WITHOUT_EFFECT}, where
    before = counted(town, (DENIED,))
    for where, place in places(town).items():
        assert statuses(town, "other-b", place, forged) == [403, 403], where
    assert [one.taken()[0] for one in recorders] == [b"", b""]
    assert counted(town, (DENIED,)) == before + 6

    def told() -> int:
        lines = [
            line for node in town.mesh.nodes for line in log_lines(town, node, "denied", "request")
        ]
        return sum(
            (line["principal"], line["client"]) == (spiffe_id("other"), town.pods["other-b"].ipv4)
            for line in lines
        )

    eventually(lambda: told() == 6, "a line for each, with who it was")
