"""What another machine on the wire between two nodes sees."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from culvert.compile.tls import server_name_of
from culvert.embedded.mesh_node import MeshOptions
from culvert.embedded.unix_http import UnixConnection
from culvert.identity.x509 import key_pem, make_request, new_key

from tests.e2e.town import SERVER_PORT, Town

pytestmark = pytest.mark.kernel

WORD = b"a-word-that-nobody-else-may-read"
TUNNEL_PORT = 15008
CLIENT = "spiffe://cluster.local/ns/default/sa/client"
SERVER = "spiffe://cluster.local/ns/default/sa/line"


@contextmanager
def captured(town: Town, node: str) -> Iterator[list[bytes]]:
    """The TCP payloads on a node's link to the other nodes, complete when this ends."""
    found: list[bytes] = []
    host = town.rig.nodes[node]
    program = host.start(
        [sys.executable, "-m", "tests.e2e.capture", "eth0"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == b"ready\n"
    try:
        yield found
    finally:
        program.terminate()
        out, _ = program.communicate(timeout=30)
        found += (bytes.fromhex(line) for line in out.decode().split())


def exchange(town: Town) -> None:
    """Send the word to a server of the other node, by a Service and by its own address."""
    pod = town.pods["line-b"]
    for address in (("10.96.0.12", 80), (pod.ipv4, SERVER_PORT), (pod.ipv6, SERVER_PORT)):
        with town.pods["client-a"].connect(address) as connection:
            connection.settimeout(10)
            stream = connection.makefile("rwb")
            stream.readline()
            stream.write(WORD + b"\n")
            stream.flush()
            assert WORD in stream.readline()


def build(town: Town) -> None:
    port = str(SERVER_PORT)
    town.pod("node-b", "line-b", "tcp_greeter", "--port", port, account="line")
    town.pod("node-a", "client-a", account="client")
    town.service("line", "10.96.0.12", ["line-b"], protocol="tcp")
    town.mesh.start()
    town.settle()


def test_no_byte_of_an_application_is_on_the_wire(
    make_town: Callable[[MeshOptions], Town],
) -> None:
    town = make_town(MeshOptions(identity=True))
    build(town)
    with captured(town, "node-a") as payloads:
        exchange(town)
    wire = b"".join(payloads)
    assert len(wire) > 3 * len(WORD)
    assert WORD not in wire
    hellos = [one for one in payloads if one[:1] == b"\x16" and one[5:6] == b"\x02"]
    assert hellos, "no TLS handshake was seen"
    # The server's choice in its extension supported_versions (RFC 8446, 4.2.1): TLS 1.3.
    assert all(b"\x00\x2b\x00\x02\x03\x04" in hello for hello in hellos)
    # Certificates are encrypted in TLS 1.3; names of identities must be in the clear nowhere.
    assert b"spiffe://" not in wire


def test_without_identities_the_same_bytes_are_seen(
    make_town: Callable[[MeshOptions], Town],
) -> None:
    town = make_town(MeshOptions())
    build(town)
    with captured(town, "node-a") as payloads:
        exchange(town)
    assert WORD in b"".join(payloads)


def test_the_tunnel_presents_the_servers_identity_in_tls_1_3(
    make_town: Callable[[MeshOptions], Town], tmp_path: Path
) -> None:
    town = make_town(MeshOptions(identity=True))
    build(town)
    context = client_context(town, tmp_path)
    address = town.rig.nodes["node-b"].addresses.ipv4
    with (
        town.pods["client-a"].connect((address, TUNNEL_PORT)) as plain,
        context.wrap_socket(plain, server_hostname=server_name_of(SERVER)) as tunnel,
    ):
        assert tunnel.version() == "TLSv1.3"
        assert tunnel.selected_alpn_protocol() == "h2"
        der = tunnel.getpeercert(binary_form=True)
    assert der is not None
    leaf = x509.load_der_x509_certificate(der)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [one.value for one in names] == [SERVER]


def client_context(town: Town, folder: Path) -> ssl.SSLContext:
    """Speaks as the client of node-a, with a certificate of the mesh's own authority."""
    key = new_key()
    asked = {"identity": CLIENT, "request": make_request(key).decode()}
    connection = UnixConnection(town.mesh.nodes["node-a"].ca_socket, 10)
    connection.request("POST", "/v1/certificates", json.dumps(asked))
    answer = json.loads(connection.getresponse().read())
    verify(answer["chain"].encode(), answer["bundle"].encode())
    (folder / "chain.pem").write_text(answer["chain"])
    (folder / "key.pem").write_bytes(key_pem(key))
    context = ssl.create_default_context(cadata=answer["bundle"])
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    return context


def verify(chain_pem: bytes, bundle_pem: bytes) -> None:
    """The chain leads to a root, by an implementation that is not the proxy's."""
    leaf, *others = x509.load_pem_x509_certificates(chain_pem)
    store = Store(x509.load_pem_x509_certificates(bundle_pem))
    chain = PolicyBuilder().store(store).build_client_verifier().verify(leaf, others).chain
    assert len(chain) == 3


def test_an_application_sees_nothing_of_it(make_town: Callable[[MeshOptions], Town]) -> None:
    town = make_town(MeshOptions(identity=True))
    build(town)
    with town.pods["client-a"].connect(("10.96.0.12", 80)) as connection:
        assert connection.getpeername() == ("10.96.0.12", 80)
        assert connection.getsockname()[0] == town.pods["client-a"].ipv4
        assert connection.type == socket.SOCK_STREAM
