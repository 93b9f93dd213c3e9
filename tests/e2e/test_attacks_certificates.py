"""Attacks with certificates: at the port between nodes, and from a false server of that port."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.x509 import DNSName, UniformResourceIdentifier
from culvert.identity.authority import Signer
from culvert.identity.state_file import read_state
from culvert.rig import netns

from tests.e2e.attacker import (
    TUNNEL_PORT,
    Answer,
    Credentials,
    ask,
    connect_headers,
    issued,
    spiffe_id,
    tls_context,
)
from tests.e2e.besieged import besieged_town
from tests.e2e.forger import (
    HOUR,
    another_signer,
    forged,
    forged_below_a_leaf,
    of_authority,
    self_signed,
    with_names,
)
from tests.e2e.town import SERVER_PORT, Town, eventually

pytestmark = pytest.mark.kernel

CLIENT, LINE = spiffe_id("client"), spiffe_id("line")
CLIENT_NAME, LINE_NAME = UniformResourceIdentifier(CLIENT), UniformResourceIdentifier(LINE)
CHAIN, NAME = "on_demand_secret.ssl.fail_verify_error", "on_demand_secret.ssl.fail_verify_san"
NONE, UNUSABLE = "ssl.fail_verify_no_cert", "ssl.connection_error"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def town(state: Path) -> Iterator[Town]:
    with besieged_town(state) as town:
        yield town


@pytest.fixture(scope="module")
def signer(town: Town, state: Path) -> Signer:
    """The mesh's own: what it signs is wrong in nothing but what the test says."""
    return read_state(state)[0]


def attack(town: Town, credentials: Credentials | None) -> Answer:
    where = (town.rig.nodes["node-a"].addresses.ipv4, TUNNEL_PORT)
    headers = connect_headers(f"{town.pods['line-a'].ipv4}:{SERVER_PORT}")
    return ask(town.pods["other-b"].connect(where), credentials, LINE, headers)


def stat(town: Town, name: str, node: str = "node-a") -> int:
    return town.mesh.nodes[node].envoy_stats()[name]


CLIENTS: dict[str, tuple[str, Callable[[Signer], Credentials | None]]] = {
    "none": (NONE, lambda _: None),
    "self-signed": (CHAIN, lambda _: self_signed(CLIENT_NAME)),
    "of another authority": (CHAIN, lambda _: forged(another_signer(), "client")),
    "expired": (CHAIN, lambda signer: forged(signer, "client", begins=-DAY, ends=-HOUR)),
    "not valid yet": (CHAIN, lambda signer: forged(signer, "client", begins=HOUR, ends=DAY)),
    "signed by a workload": (
        CHAIN,
        lambda signer: forged_below_a_leaf(signer, "other", "client"),
    ),
    "another trust domain": (
        NAME,
        lambda signer: forged(signer, "client", trust_domain="evil.test"),
    ),
    "a trust domain that begins alike": (
        NAME,
        lambda signer: forged(signer, "client", trust_domain="cluster.local.evil.test"),
    ),
    "a name of the wrong kind": (NAME, lambda signer: with_names(signer, DNSName("client"))),
    "the authority's own": (UNUSABLE, of_authority),
}


@pytest.mark.parametrize(("counter", "made"), CLIENTS.values(), ids=CLIENTS.keys())
def test_certificate_of_a_client_is_refused(
    town: Town,
    signer: Signer,
    counter: str,
    made: Callable[[Signer], Credentials | None],
) -> None:
    before = stat(town, f"listener.tunnel.{counter}")
    answer = attack(town, made(signer))
    assert answer.status is None, answer
    assert stat(town, f"listener.tunnel.{counter}") == before + 1


def test_certificates_that_the_test_makes_are_taken_where_nothing_is_wrong(
    town: Town, signer: Signer
) -> None:
    assert attack(town, forged(signer, "client")).data == b"hello from line-a\n"


def test_certificate_of_two_identities_is_nobodys(town: Town, signer: Signer) -> None:
    """The authority makes none; policies take such a caller for neither."""
    refused = "tcp.denied.downstream_cx_total"
    other = UniformResourceIdentifier(spiffe_id("other"))
    for count, names in enumerate([(CLIENT_NAME, other), (other, CLIENT_NAME)], 1):
        before = stat(town, refused)
        assert attack(town, with_names(signer, *names)).data == b"", count
        assert stat(town, refused) == before + 1


def test_other_versions_of_tls_and_plain_text_are_refused(town: Town) -> None:
    where = (town.rig.nodes["node-a"].addresses.ipv4, TUNNEL_PORT)
    failed = "listener.tunnel.ssl.connection_error"
    before = stat(town, failed)
    context = tls_context(
        ssl.PROTOCOL_TLS_CLIENT, issued(town.mesh.nodes["node-b"].ca_socket, "client")
    )
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    pod = town.pods["other-b"]
    with pod.connect(where) as connection, pytest.raises(ssl.SSLError):
        context.wrap_socket(connection, server_hostname="name.spiffe")
    with pod.connect(where) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100))
        with suppress(ConnectionError):
            assert b"HTTP" not in connection.recv(1000)
    eventually(lambda: stat(town, failed) == before + 2, "both to be counted")


@contextmanager
def false_server(town: Town, credentials: Credentials) -> Iterator[list[bytes]]:
    """In the place of node a's proxy; what it is sent inside TLS, by connection."""
    node, received = town.rig.nodes["node-a"], list[bytes]()
    context = tls_context(ssl.PROTOCOL_TLS_SERVER, credentials)
    with netns.entered(node.netns_descriptor):
        listener = socket.create_server((node.addresses.ipv4, TUNNEL_PORT))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(10)
                with (
                    connection,
                    suppress(OSError),
                    context.wrap_socket(connection, server_side=True) as wrapped,
                ):
                    received.append(wrapped.recv(1000))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield received
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def call(town: Town) -> None:
    """Node b calls a pod of node a, and must hear nothing."""
    with town.pods["client-b"].connect((town.pods["line-a"].ipv4, SERVER_PORT)) as connection:
        connection.settimeout(20)
        with suppress(ConnectionError):
            assert connection.recv(100) == b""


SERVER_CHAIN, SERVER_NAME = "ssl.fail_verify_error", "ssl.fail_verify_san"
SERVERS: dict[str, tuple[str, Callable[[Town, Signer], Credentials]]] = {
    "another pod's, which the node may have": (
        SERVER_NAME,
        lambda town, _: issued(town.mesh.nodes["node-a"].ca_socket, "other"),
    ),
    "self-signed": (SERVER_CHAIN, lambda *_: self_signed(LINE_NAME)),
    "of another authority": (SERVER_CHAIN, lambda *_: forged(another_signer(), "line")),
    "expired": (SERVER_CHAIN, lambda _, signer: forged(signer, "line", begins=-DAY, ends=-HOUR)),
    "not valid yet": (
        SERVER_CHAIN,
        lambda _, signer: forged(signer, "line", begins=HOUR, ends=DAY),
    ),
    "another trust domain": (
        SERVER_NAME,
        lambda _, signer: forged(signer, "line", trust_domain="evil.test"),
    ),
}


@pytest.fixture(scope="module")
def without_proxy(town: Town) -> Iterator[Town]:
    """Node a without its proxy; comes last, as nothing else works then."""
    town.mesh.nodes["node-a"].kill_envoy()
    return town


@pytest.mark.parametrize(("counter", "made"), SERVERS.values(), ids=SERVERS.keys())
def test_certificate_of_a_server_is_refused(
    without_proxy: Town,
    signer: Signer,
    counter: str,
    made: Callable[[Town, Signer], Credentials],
) -> None:
    town, name = without_proxy, f"cluster.tunnel.{counter}"
    before = stat(town, name, "node-b")
    with false_server(town, made(town, signer)) as received:
        call(town)
    assert b"".join(received) == b""
    assert stat(town, name, "node-b") > before


def test_false_server_is_believed_with_the_right_certificate_alone(without_proxy: Town) -> None:
    """As it shows, it is the certificate that the others lack."""
    town = without_proxy
    with false_server(town, issued(town.mesh.nodes["node-a"].ca_socket, "line")) as received:
        call(town)
    assert received[0].startswith(b"PRI * HTTP/2.0")
