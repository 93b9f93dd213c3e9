"""As ``test_attacks_http``, for HTTP/2: requests that can be read in two ways, or hide another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.besieged import besieged_town, policy
from tests.e2e.http2_recorder import Headers, Http2Recorder, status_of
from tests.e2e.town import SERVER_PORT, Town

pytestmark = pytest.mark.kernel

SERVICE = ("10.96.0.21", 80)
GOOD: Headers = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/open"),
    (":authority", "good"),
]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """With servers that ``client`` may ask for ``/open`` of the host ``good``, by GET."""
    with besieged_town(tmp_path_factory.mktemp("authority")) as town:
        for end in ("a", "b"):
            town.pod(f"node-{end}", f"record-{end}", account="record", labels={"app": "record"})
        endpoints = ("record-a", "record-b")
        town.service("record", SERVICE[0], endpoints, protocol="kubernetes.io/h2c")
        rule = {
            "from": [{"source": {"principals": ["cluster.local/ns/default/sa/client"]}}],
            "to": [{"operation": {"methods": ["GET"], "paths": ["/open"], "hosts": ["good"]}}],
        }
        town.write("policy-record", policy("record", "record", [rule]))
        town.settle()
        yield town


@pytest.fixture(scope="module")
def recorders(town: Town) -> Iterator[list[Http2Recorder]]:
    made = [Http2Recorder(town.pods[f"record-{end}"], SERVER_PORT) for end in ("a", "b")]
    yield made
    for one in made:
        one.close()


def changed(**values: str) -> Headers:
    """The good request with other values of pseudo-headers."""
    return [(name, values.get(name[1:], value)) for name, value in GOOD]


REFUSED: Mapping[str, Headers] = {
    "two paths": [*GOOD[:3], (":path", "/admin"), GOOD[3]],
    "two authorities": [*GOOD, (":authority", "evil")],
    "two hosts": [*GOOD[:3], ("host", "good"), ("host", "evil")],
    "whole URL as path": changed(path="http://good/admin"),
    "path without a slash": changed(path="admin"),
    "no path": changed(path=""),
    "fragment": changed(path="/open#/../admin"),
    "request in the path": changed(path="/open HTTP/1.1\r\n\r\nGET /admin HTTP/1.1"),
    "path with a space": changed(path="/open /admin"),
    "path with a tab": changed(path="/open\t/admin"),
    "request in the method": changed(method="GET /admin HTTP/1.1"),
    "user in the authority": changed(authority="evil@good"),
    "path in the authority": changed(authority="good/admin"),
    "line break in a value": [*GOOD, ("x", "a\r\nGET /admin HTTP/1.1")],
    "NUL in a value": [*GOOD, ("x", "a\0b")],
    "colon in a name": [*GOOD, ("x:y", "z")],
    "letters in upper case": [*GOOD, ("Host", "evil")],
    "unknown pseudo-header": [*GOOD, (":other", "z")],
    "pseudo-header after others": [*GOOD[:2], ("x", "y"), *GOOD[2:]],
    "transfer-encoding": [*GOOD, ("transfer-encoding", "chunked")],
    "connection": [*GOOD, ("connection", "close")],
    "length of what is not there": [*GOOD, ("content-length", "5")],
    "protocol without CONNECT": [*GOOD, (":protocol", "websocket")],
}


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED.keys())
def test_request_that_can_be_read_in_two_ways_is_refused(
    town: Town, recorders: list[Http2Recorder], headers: Headers
) -> None:
    for where, place in places(town).items():
        status = status_of(town.pods["client-b"].connect(place), headers)
        assert status in (None, 400), where
        assert [one.taken() for one in recorders] == [[], []], where


JUDGED: Mapping[str, tuple[Headers, int, Headers]] = {
    "as it should be": (GOOD, 200, GOOD),
    "another path": (changed(path="/admin"), 403, []),
    "another authority, with a host": ([*changed(authority="evil"), ("host", "good")], 403, []),
    "another host": ([*GOOD, ("host", "evil")], 200, GOOD),
    "no authority": ([*GOOD[:3], ("host", "good")], 200, GOOD),
    "a header of the proxy": ([*GOOD, ("x-culvert-destination", "pod 1.1.1.1:80")], 200, GOOD),
}


@pytest.mark.parametrize(("headers", "status", "sent"), JUDGED.values(), ids=JUDGED.keys())
def test_application_is_sent_what_was_judged_and_nothing_else(
    town: Town, recorders: list[Http2Recorder], headers: Headers, status: int, sent: Headers
) -> None:
    for where, place in places(town).items():
        assert status_of(town.pods["client-b"].connect(place), headers) == status, where
        seen = [request for one in recorders for request in one.taken()]
        assert [sorted(one) for one in seen] == ([sorted(sent)] if sent else []), where


def places(town: Town) -> dict[str, tuple[str, int]]:
    """As the pods of node b see them."""
    return {
        "Service": SERVICE,
        "same node": (town.pods["record-b"].ipv4, SERVER_PORT),
        "other node": (town.pods["record-a"].ipv4, SERVER_PORT),
    }
