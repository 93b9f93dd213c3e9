"""Certificates and roots that change under load, and an authority that is away."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from culvert.compile.tls import server_name_of
from culvert.embedded.mesh_node import MeshOptions
from culvert.embedded.unix_http import fetch

from tests.e2e.test_wire import TUNNEL_PORT, WORD, captured
from tests.e2e.town import SERVER_PORT, Town, eventually, summary

pytestmark = pytest.mark.kernel

NODES = ("node-a", "node-b")
LINE = "spiffe://cluster.local/ns/default/sa/line"
BRIEF = ("--duration", "1", "--connections", "4", "--timeout", "5")


def build(town: Town) -> None:
    """Servers and a client on both nodes, each kind with a service account of its own."""
    for node in NODES:
        end, port = node[-1], str(SERVER_PORT)
        town.pod(node, f"web-{end}", "http_echo", "--port", port, account="web")
        town.pod(node, f"line-{end}", "tcp_greeter", "--port", port, account="line")
        town.pod(node, f"client-{end}", account="client")
    town.service("web", "10.96.0.10", ["web-a", "web-b"])
    town.service("line", "10.96.0.12", ["line-a", "line-b"], protocol="tcp")
    town.mesh.start()
    town.settle()


@contextmanager
def under_load(town: Town) -> Iterator[list[str]]:
    """Connections that are kept and new ones, from both nodes; none may fail until this ends."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    for end, far in (("a", "b"), ("b", "a")):
        web, line = town.pods[f"web-{far}"], town.pods[f"line-{far}"]
        http = ("http_load", "--connections", "4", "--rate", "10")
        tcp = ("tcp_load", "--connections", "4", "--rate", "10")
        for name, program in {
            "requests": (*http, "http://10.96.0.10/"),
            "fresh requests": (*http, "--fresh", "http://10.96.0.10/"),
            "fresh requests to a pod": (*http, "--fresh", f"http://{web.ipv4}:{SERVER_PORT}/"),
            "lines": (*tcp, "10.96.0.12", "80"),
            "lines to a pod": (*tcp, line.ipv4, str(SERVER_PORT)),
            "fresh lines to a pod": (*tcp, "--fresh", line.ipv6, str(SERVER_PORT)),
        }.items():
            running[f"{name} from {end}"] = town.start(f"client-{end}", *program)
    for process in running.values():
        assert process.stdout is not None
        process.stdout.readline()
    told: list[str] = []
    yield told
    for name, process in running.items():
        process.terminate()
        result = summary(process.communicate(timeout=30)[0])
        told.append(f"{name}: {result['requests']} done, {result['failures']} failed")
        assert result["failures"] == 0, f"{name} failed: {result}"
        assert result["requests"] > 0, name


def roots(town: Town) -> frozenset[int]:
    """Serial numbers of the roots that the authority hands out."""
    _, body = fetch(town.mesh.nodes["node-a"].ca_socket, "/v1/bundle")
    bundle = x509.load_pem_x509_certificates(json.loads(body)["bundle"].encode())
    return frozenset(one.serial_number for one in bundle)


def presented(town: Town, node: str) -> int:
    """Serial number of the certificate that a node's proxy shows for the line servers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    address = town.rig.nodes[node].addresses.ipv4
    other = "client-a" if node == "node-b" else "client-b"
    with (
        town.pods[other].connect((address, TUNNEL_PORT)) as plain,
        context.wrap_socket(plain, server_hostname=server_name_of(LINE)) as tunnel,
    ):
        der = tunnel.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def handshakes(town: Town) -> int:
    return sum(
        node.envoy_stats("^cluster.tunnel.upstream_cx_total")["cluster.tunnel.upstream_cx_total"]
        for node in town.mesh.nodes.values()
    )


def findings(town: Town, node: str) -> set[tuple[str, str]]:
    """Code and severity of what is wrong with certificates."""
    found = town.mesh.nodes[node].status().findings
    return {(one.code, one.severity) for one in found if one.code.startswith("CV07")}


def goes_through(town: Town) -> bool:
    """Whether new connections from both nodes, to the other's pods, all carry their bytes."""
    for end, far in (("a", "b"), ("b", "a")):
        result = town.load(f"client-{end}", "tcp_load", *BRIEF, "--fresh", *far_line(town, far))
        if result["failures"] or not result["requests"]:
            return False
    return True


def far_line(town: Town, far: str) -> tuple[str, str]:
    return town.pods[f"line-{far}"].ipv4, str(SERVER_PORT)


def files_with_keys(folder: Path) -> list[str]:
    """Files that hold a private key, in PEM or in the base64 of it."""
    # "-----BEGIN PRIV", as config dumps and JSON have bytes.
    marks = (b"PRIVATE KEY", b"LS0tLS1CRUdJTiBQUklW")
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and any(mark in path.read_bytes() for mark in marks)
    ]


@pytest.mark.parametrize("roots_gone", [1, pytest.param(8, marks=pytest.mark.long)])
def test_certificates_and_roots_change_under_load_and_no_request_fails(
    make_town: Callable[[MeshOptions], Town], tmp_path: Path, roots_gone: int
) -> None:
    """Also while the authority, which has its keys on a disk, is killed and started again."""
    town = make_town(
        MeshOptions(
            identity=True,
            certificate_lifetime="10s",
            root_lifetime="40s",
            authority_state=tmp_path / "authority",
            tunnel_lifetime="1s",
            log_level="debug",
        )
    )
    build(town)
    assert goes_through(town)
    with under_load(town) as told:
        seen_roots = [roots(town)]
        serials = {node: {presented(town, node)} for node in NODES}
        shaken = handshakes(town)
        eventually(lambda: roots(town) != seen_roots[0], "a root to come", timeout_seconds=90)
        town.mesh.kill_authority()
        town.mesh.start_authority()

        def changed() -> bool:
            time.sleep(0.5)
            try:
                now = roots(town)
            except OSError:
                return False
            if now != seen_roots[-1]:
                seen_roots.append(now)
            for node in NODES:
                serials[node].add(presented(town, node))
            return (
                len(frozenset.union(*seen_roots) - now) > roots_gone
                and all(len(one) > 3 * roots_gone for one in serials.values())
                and handshakes(town) > shaken + 20 * roots_gone
            )

        eventually(
            changed, "roots, certificates and connections to be others", 90.0 * (roots_gone + 1)
        )
    shaken = handshakes(town) - shaken
    log = (town.rig.directory / "ca.log").read_text()
    issued = log.count('"certificate issued"')
    print("; ".join(told))
    print(
        f"{len(frozenset.union(*seen_roots))} roots, {issued} certificates issued, "
        f"{[len(one) for one in serials.values()]} presented for one identity, "
        f"{shaken} connections between nodes"
    )
    dumps = tmp_path / "dumps"
    dumps.mkdir()
    for name, node in town.mesh.nodes.items():
        assert findings(town, name) == set()
        _, dump = fetch(node.admin_socket, "/config_dump")
        (dumps / name).write_bytes(dump)
        assert LINE.encode() in dump
    assert files_with_keys(dumps) == []
    assert files_with_keys(tmp_path / "authority"), "nothing is found where keys are"
    assert files_with_keys(town.rig.directory) == []


def test_without_an_authority_traffic_goes_on_until_certificates_end_and_never_in_the_clear(
    make_town: Callable[[MeshOptions], Town],
) -> None:
    town = make_town(MeshOptions(identity=True, certificate_lifetime="30s", tunnel_lifetime="1s"))
    build(town)
    assert goes_through(town)
    town.mesh.kill_authority()
    with captured(town, "node-a") as payloads:
        with under_load(town) as told:
            eventually(
                lambda: all(("CV0702", "warning") in findings(town, node) for node in NODES),
                "the agents to tell that certificates are not renewed",
                timeout_seconds=120,
            )
            eventually(
                lambda: all(("CV0702", "error") in findings(town, node) for node in NODES),
                "the agents to tell that certificates end",
                timeout_seconds=120,
            )
        print("; ".join(told))
        eventually(lambda: all(ended(town, node) for node in NODES), "certificates to end")
        for end, far in (("a", "b"), ("b", "a")):
            eventually(
                lambda e=end, f=far: not anything_passes(town, e, f), "connections to be refused"
            )
            near = town.load(f"client-{end}", "tcp_load", *BRIEF, *far_line(town, end))
            assert near["failures"] == 0, near
        town.mesh.start_authority()
        eventually(lambda: goes_through(town), "traffic to flow again", timeout_seconds=120)
        eventually(lambda: all(findings(town, node) == set() for node in NODES), "no finding")
        assert anything_passes(town, "a", "b")
    assert len(b"".join(payloads)) > 1000
    assert WORD not in b"".join(payloads)


def ended(town: Town, node: str) -> bool:
    identities = town.mesh.nodes[node].status().identities
    assert identities is not None
    return all((one.ends_seconds or 0.0) < time.time() for one in identities.certificates)


def anything_passes(town: Town, end: str, far: str) -> bool:
    """Whether a new connection to a pod of the other node brings any byte back."""
    with town.pods[f"client-{end}"].connect((town.pods[f"line-{far}"].ipv4, SERVER_PORT)) as one:
        one.settimeout(30)
        try:
            one.sendall(WORD + b"\n")
            return one.recv(100) != b""
        except ConnectionError:
            return False


def test_proxy_keeps_its_certificates_while_agent_and_authority_are_away(
    make_town: Callable[[MeshOptions], Town],
) -> None:
    town = make_town(MeshOptions(identity=True, certificate_lifetime="5m", tunnel_lifetime="1s"))
    build(town)
    assert goes_through(town)
    before = {node: presented(town, node) for node in NODES}
    town.mesh.kill_authority()
    node = town.mesh.nodes["node-a"]
    with under_load(town) as told:
        node.kill_agent()
        shaken = handshakes(town)
        eventually(lambda: handshakes(town) > shaken + 3, "new connections between nodes")
        assert goes_through(town)
    with under_load(town) as told:
        # The keys were in the memory of the agent that is gone.
        node.start_agent()
        node.wait_ready()
        shaken = handshakes(town)
        eventually(lambda: handshakes(town) > shaken + 3, "new connections between nodes")
        assert goes_through(town)
        assert {one: presented(town, one) for one in NODES} == before
    print("; ".join(told))
    other = town.mesh.nodes["node-b"]
    other.kill_envoy()
    other.start_envoy()
    other.wait_ready()
    eventually(lambda: goes_through(town), "traffic to flow again after the proxy's restart")
    assert presented(town, "node-b") == before["node-b"]


def test_first_connection_of_a_new_identity_waits_for_a_slow_authority(
    make_town: Callable[[MeshOptions], Town],
) -> None:
    town = make_town(MeshOptions(identity=True))
    build(town)
    authority = town.mesh.authority
    assert authority is not None
    authority.send_signal(signal.SIGSTOP)
    try:
        town.pod("node-a", "late", account="late")
        town.settle()
        started = handshakes(town)
        with town.pods["late"].connect((town.pods["line-b"].ipv4, SERVER_PORT)) as one:
            eventually(lambda: handshakes(town) > started, "the connection to be under way")
            one.settimeout(0.5)
            with pytest.raises(TimeoutError):
                one.recv(100)
            authority.send_signal(signal.SIGCONT)
            one.settimeout(30)
            assert one.recv(100).startswith(b"hello from line-b")
    finally:
        authority.send_signal(signal.SIGCONT)
