"""Attacks on the port between nodes, by a node or a thief with a certificate of the mesh.

What is refused here is asked for as the proxies of the mesh do, but for one thing.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from tests.e2e.attacker import (
    TUNNEL_PORT,
    Answer,
    Credentials,
    Headers,
    ask,
    connect_headers,
    issued,
    spiffe_id,
    tls_context,
)
from tests.e2e.besieged import besieged_town, log_lines
from tests.e2e.town import SERVER_PORT, Town, eventually

pytestmark = pytest.mark.kernel

LINE, WEB, CLIENT = spiffe_id("line"), spiffe_id("web"), spiffe_id("client")
SOURCE = ("x-culvert-source", "10.244.2.9")
NO_ROUTE = "http.tunnel.no_route"
REFUSED = "tcp.denied.downstream_cx_total"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with besieged_town(tmp_path_factory.mktemp("authority")) as town:
        yield town


@pytest.fixture(scope="module")
def client(town: Town) -> Credentials:
    """As a node has them that runs a pod of the account ``client``."""
    return issued(town.mesh.nodes["node-b"].ca_socket, "client")


@pytest.fixture(scope="module")
def other(town: Town) -> Credentials:
    return issued(town.mesh.nodes["node-b"].ca_socket, "other")


def attack(
    town: Town,
    credentials: Credentials | None,
    headers: Headers,
    *,
    presented: str = LINE,
    data: bytes = b"",
) -> Answer:
    """From a pod of node b to the tunnel port of node a."""
    where = (town.rig.nodes["node-a"].addresses.ipv4, TUNNEL_PORT)
    return ask(town.pods["other-b"].connect(where), credentials, presented, headers, data)


def stat(town: Town, name: str) -> int:
    return town.mesh.nodes["node-a"].envoy_stats()[name]


def at(town: Town, pod: str, port: int | str = SERVER_PORT) -> str:
    return f"{town.pods[pod].ipv4}:{port}"


def greeted(answer: Answer) -> bool:
    return (answer.status, answer.data) == (200, b"hello from line-a\n")


def test_who_asks_as_the_mesh_does_is_answered(town: Town, client: Credentials) -> None:
    assert greeted(attack(town, client, connect_headers(at(town, "line-a"), SOURCE)))


FORGED: dict[str, Callable[[Town], str]] = {
    "pod of another node": lambda town: at(town, "line-b"),
    "pod of another identity": lambda town: at(town, "web-a"),
    "pod outside the mesh": lambda town: at(town, "stranger-a"),
    "loopback": lambda _: f"127.0.0.1:{SERVER_PORT}",
    "loopback, IPv6": lambda _: f"[::1]:{SERVER_PORT}",
    "any address": lambda _: f"0.0.0.0:{SERVER_PORT}",
    "port of the node": lambda town: f"{town.rig.nodes['node-a'].addresses.ipv4}:22",
    "the tunnel port": lambda town: f"{town.rig.nodes['node-a'].addresses.ipv4}:{TUNNEL_PORT}",
    "the proxy": lambda _: "169.254.77.1:15001",
    "metadata of the cloud": lambda _: "169.254.169.254:80",
    "a Service": lambda _: "10.96.0.12:80",
    "a name": lambda _: f"line.default.svc:{SERVER_PORT}",
    "IPv4 in IPv6": lambda town: f"[::ffff:{town.pods['line-a'].ipv4}]:{SERVER_PORT}",
    "no port": lambda town: town.pods["line-a"].ipv4,
    "port 0": lambda town: at(town, "line-a", 0),
    "port with a zero in front": lambda town: at(town, "line-a", f"0{SERVER_PORT}"),
    "port with a sign": lambda town: at(town, "line-a", f"+{SERVER_PORT}"),
    "port with letters": lambda town: at(town, "line-a", f"{SERVER_PORT}x"),
    "two ports": lambda town: at(town, "line-a", f"{SERVER_PORT}:{SERVER_PORT}"),
}


def test_forged_authorities_lead_nowhere(town: Town, client: Credentials) -> None:
    before, connected = stat(town, NO_ROUTE), stat(town, "tcp.inbound_tcp.downstream_cx_total")
    asked = {name: authority(town) for name, authority in FORGED.items()}
    for name, authority in asked.items():
        answer = attack(town, client, connect_headers(authority, SOURCE))
        assert (answer.status, answer.data) == (404, b""), (name, answer)
    assert stat(town, NO_ROUTE) == before + len(FORGED)
    assert stat(town, "tcp.inbound_tcp.downstream_cx_total") == connected

    def told() -> set[str]:
        lines = log_lines(town, "node-a", "denied", "stream")
        return {
            line["destination"]
            for line in lines
            if (line["principal"], line["presented"], line["client"], line["status"])
            == (CLIENT, LINE, town.pods["other-b"].ipv4, 404)
        }

    eventually(lambda: told() >= set(asked.values()), "a line for each: who asked for what")


def test_an_http_port_is_judged_by_requests_however_it_is_spelled(
    town: Town, client: Credentials
) -> None:
    admin = b"GET /admin HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
    allowed = admin.replace(b"admin", b"open")
    whole = connect_headers(at(town, "web-a"), SOURCE)
    assert b'"path": "/open"' in attack(town, client, whole, presented=WEB, data=allowed).data
    assert b" 403 " in attack(town, client, whole, presented=WEB, data=admin).data
    for port in (f"0{SERVER_PORT}", hex(SERVER_PORT), 65536 + SERVER_PORT):
        headers = connect_headers(at(town, "web-a", port), SOURCE)
        answer = attack(town, client, headers, presented=WEB, data=allowed)
        assert answer.status in (404, 503), answer
        assert b"path" not in answer.data


def test_forged_headers_lead_nowhere_and_make_nobody_of_somebody(
    town: Town, client: Credentials, other: Credentials
) -> None:
    """The identity presented, and the caller's, are those of the connection."""
    presented = ("x-culvert-presented", LINE)
    before = stat(town, NO_ROUTE)
    headers = connect_headers(at(town, "line-a"), SOURCE, presented)
    assert attack(town, client, headers, presented=WEB).status == 404
    assert stat(town, NO_ROUTE) == before + 1
    claims = [
        [("x-culvert-source", town.pods["client-b"].ipv4)],
        [("x-culvert-source", CLIENT)],
        [("x-forwarded-client-cert", f"URI={CLIENT}"), ("x-culvert-principal", CLIENT)],
    ]
    before = stat(town, REFUSED)
    for claim in claims:
        answer = attack(town, other, connect_headers(at(town, "line-a"), *claim))
        assert answer.data == b"", (claim, answer)
    eventually(lambda: stat(town, REFUSED) == before + len(claims), "all to be counted")


SOURCES = ([], [""], ["garbage"], ["1.2.3.4", "5.6.7.8"], ["x" * 5000], ["127.0.0.1:99"], ["[::1]"])


def test_a_source_that_is_no_address_says_nothing_and_breaks_nothing(
    town: Town, client: Credentials, other: Credentials
) -> None:
    for values in SOURCES:
        headers = connect_headers(
            at(town, "line-a"), *(("x-culvert-source", value) for value in values)
        )
        assert greeted(attack(town, client, headers)), values
        assert attack(town, other, headers).data == b"", values


def test_pod_is_not_told_that_its_client_is_itself(town: Town, client: Credentials) -> None:
    """Its node is asked for the client's address, and could say any; applications trust some."""
    pod = town.pods["web-a"]
    node = town.rig.nodes["node-a"].addresses
    request = b"GET /open HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"

    def seen(authority: str, source: str) -> str:
        headers = connect_headers(authority, ("x-culvert-source", source))
        answer = attack(town, client, headers, presented=WEB, data=request)
        remote: str = json.loads(answer.data.partition(b"\r\n\r\n")[2])["remote"]
        return remote.rpartition(":")[0]

    for authority, credible, own, lies in (
        (at(town, "web-a"), "10.244.2.9", node.ipv4, ("127.0.0.1", "127.8.8.8", pod.ipv4)),
        (
            f"[{pod.ipv6}]:{SERVER_PORT}",
            "fd00:10:244:2::9",
            node.ipv6,
            ("::1", "0:0::0:1", pod.ipv6),
        ),
    ):
        assert seen(authority, credible).strip("[]") == credible
        before = town.verdict("node-a", "client_refused")
        for source in lies:
            assert seen(authority, source).strip("[]") == own, source
        # The proxy connects once for each address.
        addresses = {ip_address(source) for source in lies}
        assert town.verdict("node-a", "client_refused") == before + len(addresses)


def requests(authority: str, elsewhere: str) -> dict[str, list[tuple[str, str]]]:
    """Requests that are no plain CONNECT to one place; a server must not choose which is meant."""
    whole = [(":scheme", "https"), (":path", "/"), (":authority", authority)]
    methods = {
        name: [(":method", name), *whole] for name in ("GET", "POST", "OPTIONS", "TRACE", "connect")
    }
    return methods | {
        "path": [(":method", "CONNECT"), *whole],
        "websocket": [(":method", "CONNECT"), (":protocol", "websocket"), *whole],
        "connect-udp": [(":method", "CONNECT"), (":protocol", "connect-udp"), *whole],
        "host alone": [(":method", "CONNECT"), ("host", authority)],
        "host": connect_headers(elsewhere, ("host", authority)),
        "two": [*connect_headers(authority), (":authority", elsewhere)],
        "none": [(":method", "CONNECT")],
        "empty": connect_headers(""),
        "user": connect_headers(f"me@{authority}"),
        "space": connect_headers(f"{authority} "),
    }


def test_no_other_request_than_connect_is_answered(town: Town, client: Credentials) -> None:
    names = ("http.tunnel.downstream_rq_4xx", "http.tunnel.downstream_cx_protocol_error")
    forged = requests(at(town, "line-a"), at(town, "line-b"))
    before = sum(stat(town, name) for name in names)
    for name, headers in forged.items():
        answer = attack(town, client, [*headers, SOURCE])
        assert answer.status in (404, None), (name, answer)
        assert b"hello" not in answer.data
    eventually(
        lambda: sum(stat(town, name) for name in names) == before + len(forged),
        "all to be counted",
    )


def test_of_authority_and_host_the_authority_counts(town: Town, client: Credentials) -> None:
    headers = connect_headers(at(town, "line-a"), SOURCE, ("host", at(town, "web-a")))
    assert greeted(attack(town, client, headers))


FLOOD = 1000


def test_names_of_nobody_get_no_certificate_and_leave_nothing_behind(
    town: Town, client: Credentials
) -> None:
    """Names are asked for before the caller has shown who it is."""
    kept, failed = (
        "listener.tunnel.on_demand_secret.cert_active",
        "listener.tunnel.ssl.connection_error",
    )
    attack(town, client, connect_headers(at(town, "line-a"), SOURCE))
    active, before = stat(town, kept), stat(town, failed)
    where = (town.rig.nodes["node-a"].addresses.ipv4, TUNNEL_PORT)
    context = tls_context(ssl.PROTOCOL_TLS_CLIENT, None)
    for number in range(FLOOD):
        with (
            town.pods["stranger-b"].connect(where) as connection,
            pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"),
        ):
            context.wrap_socket(connection, server_hostname=f"{number:032x}.spiffe")
    assert stat(town, failed) == before + FLOOD
    eventually(lambda: stat(town, kept) == active, "all that was asked for to be forgotten")
    assert greeted(attack(town, client, connect_headers(at(town, "line-a"), SOURCE)))
