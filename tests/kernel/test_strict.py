"""A pod that takes mutual TLS only: connections of its own node and of itself, and no others."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from culvert.model.redirect import DestinationKey, LocalFlag, PodFlag, address16
from culvert.redirect.abi import Verdict
from culvert.redirect.refusals import Refusal
from culvert.redirect.syscall import Map
from culvert.rig import Pod, netns

from tests.kernel.data_path import DataPath, Peer, original_destination, run_in

pytestmark = pytest.mark.kernel

FAMILIES = pytest.mark.parametrize(
    "family", [socket.AF_INET, socket.AF_INET6], ids=lambda family: family.name
)
PORT = 8080
REFUSED_SECONDS = 0.3
"""How long a connection is tried whose first packet is dropped: it is sent again after a second."""
IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75


def own(pod: Pod, family: socket.AddressFamily = socket.AF_INET) -> str:
    """The pod's address of a family."""
    return pod.ipv6 if family == socket.AF_INET6 else pod.ipv4


@contextmanager
def served(
    pod: Pod, family: socket.AddressFamily = socket.AF_INET, port: int = PORT
) -> Iterator[Peer]:
    """A port of the pod that takes connections; yields it."""
    with pod.listen((own(pod, family), port)) as listener:
        yield Peer(*listener.getsockname()[:2])


def is_refused(data_path: DataPath, client: Pod, asked: Peer) -> bool:
    """Whether a pod's connection gets no answer, and is counted as refused."""
    before = data_path.count(Verdict.STRICT_REFUSED)
    try:
        client.connect(asked, timeout_seconds=REFUSED_SECONDS).close()
    except TimeoutError:
        assert data_path.count(Verdict.STRICT_REFUSED) == before + 1
        return True
    return False


def outsider(data_path: DataPath, name: str = "outsider") -> Pod:
    """A pod that is not in the mesh."""
    return data_path.add_pod(name, flags=PodFlag.NONE, local=LocalFlag.NONE)


@FAMILIES
def test_strict_pod_refuses_another_pod_counts_it_and_says_whom(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.require_mtls(server)
    with served(server, family) as asked:
        assert is_refused(data_path, client, asked)
        assert is_refused(data_path, client, asked)
    assert data_path.count(Verdict.STRICT_REFUSED) == 2
    assert data_path.maps.take_refused() == [Refusal(own(client, family), *asked, 2)]
    assert data_path.maps.take_refused() == []


def test_strict_pod_refuses_a_pod_of_the_mesh_past_the_proxy(data_path: DataPath) -> None:
    server, client = data_path.add_pod("server"), data_path.add_pod("client")
    data_path.require_mtls(server)
    with served(server) as asked:
        assert is_refused(data_path, client, asked)


def test_mapped_socket_is_refused_too(data_path: DataPath) -> None:
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.require_mtls(server)
    with server.listen(("::", PORT)), pytest.raises(TimeoutError):
        client.connect((f"::ffff:{server.ipv4}", PORT), timeout_seconds=REFUSED_SECONDS)


@FAMILIES
def test_pod_that_is_not_strict_takes_connections_and_none_is_judged(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    strict, server = data_path.add_pod("strict"), data_path.add_pod("server")
    client = outsider(data_path)
    data_path.require_mtls(strict)
    with served(server, family) as asked:
        assert not is_refused(data_path, client, asked)
    judged = (Verdict.STRICT_ALLOWED_NODE, Verdict.STRICT_ALLOWED_SELF, Verdict.STRICT_REFUSED)
    assert [data_path.count(verdict) for verdict in judged] == [0, 0, 0]


@FAMILIES
def test_node_reaches_a_strict_pod(data_path: DataPath, family: socket.AddressFamily) -> None:
    """As the kubelet does, from a cgroup that is neither the pods' nor the proxy's."""
    server = data_path.add_pod("server")
    data_path.require_mtls(server)
    with netns.entered(data_path.node.netns_descriptor):
        probe = socket.socket(family)
    with served(server, family) as asked, probe:
        probe.settimeout(10)
        probe.connect(asked)
    assert data_path.count(Verdict.STRICT_ALLOWED_NODE) == 1


@FAMILIES
def test_proxy_reaches_a_strict_pod(data_path: DataPath, family: socket.AddressFamily) -> None:
    server = data_path.add_pod("server")
    data_path.require_mtls(server)
    with served(server, family) as asked, data_path.proxy.connect(asked):
        pass
    assert data_path.count(Verdict.STRICT_ALLOWED_NODE) == 1


@FAMILIES
def test_node_is_let_in_by_who_it_is_and_not_by_the_address_it_connects_from(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    server, client = data_path.add_pod("server"), data_path.add_pod("client")
    data_path.require_mtls(server)
    with served(server, family) as asked, transparent(data_path, client, family) as made:
        # The answers go to the client, which knows of nothing: the handshake does not end.
        made.settimeout(REFUSED_SECONDS)
        with pytest.raises(OSError, match=r"timed out|reset"):
            made.connect(asked)
    assert data_path.count(Verdict.STRICT_ALLOWED_NODE) >= 1
    assert data_path.count(Verdict.STRICT_REFUSED) == 0


def test_port_that_the_node_has_used_as_a_pods_lets_nobody_else_in(
    data_path: DataPath,
) -> None:
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.require_mtls(server)
    with served(server) as asked:
        with transparent(data_path, client, socket.AF_INET) as made:
            made.settimeout(REFUSED_SECONDS)
            with pytest.raises(OSError, match=r"timed out|reset"):
                made.connect(asked)
            used = made.getsockname()
        with pytest.raises(TimeoutError):
            client.connect(asked, bind=used, timeout_seconds=REFUSED_SECONDS)


def test_nothing_is_kept_of_the_nodes_connections_once_they_stand(data_path: DataPath) -> None:
    server = data_path.add_pod("server")
    data_path.require_mtls(server)
    connecting = Map(str(data_path.loaded.maps / "cv_node_connecting"))
    try:
        with served(server) as asked, data_path.proxy.connect(asked):
            assert list(connecting.keys()) == []
        with pytest.raises(ConnectionRefusedError):
            data_path.proxy.connect(asked)
        assert list(connecting.keys()) == []
    finally:
        connecting.close()


@FAMILIES
def test_strict_pod_reaches_itself(data_path: DataPath, family: socket.AddressFamily) -> None:
    server = data_path.add_pod("server")
    data_path.require_mtls(server)
    with served(server, family) as asked:
        assert not is_refused(data_path, server, asked)
    assert data_path.count(Verdict.STRICT_ALLOWED_SELF) == 1


@FAMILIES
def test_containers_of_a_strict_pod_reach_each_other_over_loopback(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    server = data_path.add_pod("server")
    data_path.require_mtls(server)
    address = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}[family]
    with server.listen((address, PORT)):
        server.connect((address, PORT)).close()


def test_captured_client_reaches_a_strict_pod_through_the_proxy(data_path: DataPath) -> None:
    server, client = data_path.add_pod("server"), data_path.add_pod("client")
    asked = data_path.capture(server.ipv4, PORT)
    data_path.require_mtls(server)
    with (
        served(server),
        data_path.proxy.listen() as listener,
        client.connect(asked),
        listener.accept()[0] as accepted,
    ):
        assert original_destination(accepted) == asked
        data_path.proxy.connect(asked).close()
    assert data_path.count(Verdict.STRICT_ALLOWED_NODE) == 1


@pytest.mark.parametrize("strict", [True, False], ids=["strict-pod", "strict-port"])
def test_port_has_a_mode_of_its_own(data_path: DataPath, strict: bool) -> None:
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.require_mtls(server, strict=strict)
    data_path.require_mtls(server, PORT, strict=not strict)
    with served(server) as asked, served(server, port=PORT + 1) as other:
        assert is_refused(data_path, client, asked) == (not strict)
        assert is_refused(data_path, client, other) == strict


@FAMILIES
def test_strict_pod_is_strict_at_addresses_that_are_not_known(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.require_mtls_of(server)
    with served(server, family) as asked:
        assert is_refused(data_path, client, asked)
        data_path.proxy.connect(asked).close()
        server.connect(asked).close()
    assert data_path.count(Verdict.STRICT_ALLOWED_NODE) == 1


def test_containers_below_a_strict_pods_cgroup_are_strict_too(data_path: DataPath) -> None:
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.require_mtls_of(server)
    listener = server.start(
        [sys.executable, "-I", "-S", "-c", LISTEN, str(PORT)],
        container="app",
        stdout=subprocess.PIPE,
    )
    try:
        assert listener.stdout is not None
        listener.stdout.readline()
        assert is_refused(data_path, client, Peer(server.ipv4, PORT))
    finally:
        listener.kill()
        listener.communicate()


def test_what_is_known_of_an_address_goes_over_what_is_known_of_the_pod(
    data_path: DataPath,
) -> None:
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.require_mtls_of(server)
    data_path.require_mtls(server, strict=False)
    data_path.require_mtls(server, PORT + 1)
    with served(server) as asked, served(server, port=PORT + 1) as other:
        assert not is_refused(data_path, client, asked)
        assert is_refused(data_path, client, other)


@FAMILIES
def test_pod_of_which_nothing_is_known_is_as_the_mesh_is(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    server, client, known = (
        data_path.add_pod("server"),
        outsider(data_path),
        outsider(data_path, "known"),
    )
    data_path.require_mtls_of(known, strict=False)
    data_path.require_mtls_of(None)
    with served(server, family) as asked, served(known, family) as other:
        assert is_refused(data_path, client, asked)
        data_path.proxy.connect(asked).close()
        assert not is_refused(data_path, client, other)
        data_path.require_mtls_of(None, strict=False)
        assert not is_refused(data_path, client, asked)


def test_pod_at_the_nodes_own_address_is_left_alone_while_nothing_is_known_of_it(
    data_path: DataPath,
) -> None:
    """It shares the node's network, and may be what the agent itself waits for."""
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.require_mtls_of(None)
    data_path.table.local[address16(server.ipv4)] = LocalFlag.PROXY_SOURCE
    data_path.apply()
    with served(server) as asked:
        assert not is_refused(data_path, client, asked)


def test_mode_that_is_taken_back_lets_clients_in_again(data_path: DataPath) -> None:
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.require_mtls(server)
    with served(server) as asked:
        assert is_refused(data_path, client, asked)
        data_path.table.strict.clear()
        data_path.apply()
        assert not is_refused(data_path, client, asked)


def test_connection_from_before_goes_on(data_path: DataPath) -> None:
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.apply()
    with (
        server.listen((server.ipv4, PORT)) as listener,
        client.connect((server.ipv4, PORT)) as near,
        listener.accept()[0] as far,
    ):
        data_path.require_mtls(server)
        near.sendall(b"still here")
        far.settimeout(10)
        assert far.recv(64) == b"still here"
    assert data_path.count(Verdict.STRICT_REFUSED) == 0


def test_client_of_the_pods_own_is_not_judged(data_path: DataPath) -> None:
    """Packets of connections that the strict pod has made itself."""
    strict, server = data_path.add_pod("strict"), data_path.add_pod("server")
    data_path.require_mtls(strict)
    near, far = data_path.pair(strict, server)
    with near, far:
        far.sendall(b"answer")
        assert near.recv(64) == b"answer"
    assert data_path.count(Verdict.STRICT_REFUSED) == 0


@pytest.mark.parametrize("extensions", [0, 1, 8, 12])
def test_extension_headers_hide_no_connection_request(data_path: DataPath, extensions: int) -> None:
    """Raw packets of an attacker, with destination options before TCP's header."""
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.require_mtls(server, PORT)
    data_path.require_mtls(server, strict=False)
    with served(server, socket.AF_INET6) as asked:
        run_in(client, RAW_SYN, client.ipv6, *asked, extensions)
        deadline = time.monotonic() + 10
        while not data_path.count(Verdict.STRICT_REFUSED) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert data_path.count(Verdict.STRICT_REFUSED) == 1


def test_strict_pod_stays_strict_without_agent_and_proxy(data_path: DataPath) -> None:
    """What attached is killed; only the pins are left."""
    server, client = data_path.add_pod("server"), outsider(data_path)
    data_path.require_mtls(server)
    data_path.detach()
    source = """
import os, signal, sys
from pathlib import Path
from culvert.redirect.attach import attach, hooks
programs, links, *cgroups = map(Path, sys.argv[1:])
attach(programs, links, hooks(*cgroups))
os.kill(os.getpid(), signal.SIGKILL)
"""
    paths = [data_path.loaded.programs, data_path.links]
    paths += [data_path.node.pods_cgroup, data_path.node.proxy_cgroup, data_path.node_root]
    argv = [sys.executable, "-c", source, *map(str, paths)]
    assert subprocess.run(argv, check=False, timeout=60).returncode == -signal.SIGKILL
    with served(server) as asked:
        assert is_refused(data_path, client, asked)
        data_path.proxy.connect(asked).close()


def test_full_map_keeps_the_pods_and_leaves_exceptions_out(small_data_path: DataPath) -> None:
    server, client = small_data_path.add_pod("server"), outsider(small_data_path)
    for port in (PORT, PORT + 1, PORT + 2):
        for address in (server.ipv4, server.ipv6):
            key = DestinationKey(address16(address), port)
            small_data_path.table.strict[key] = False
    for address in (server.ipv4, server.ipv6):
        small_data_path.table.strict[DestinationKey(address16(address), 0)] = True
    (full,) = small_data_path.apply()
    assert (full.map_name, full.refused) == ("cv_strict", 4)
    with served(server, port=PORT + 2) as asked, served(server, socket.AF_INET6, PORT + 3) as other:
        assert is_refused(small_data_path, client, asked)
        assert is_refused(small_data_path, client, other)


def test_node_that_is_not_known_is_refused(data_path: DataPath) -> None:
    """Better no probe than a door that is open for all."""
    server = data_path.add_pod("server")
    data_path.config = replace(data_path.config, node_netns_cookie=0)
    data_path.require_mtls(server)
    with served(server) as asked, data_path.proxy.socket() as tried:
        tried.settimeout(REFUSED_SECONDS)
        with pytest.raises(TimeoutError):
            tried.connect(asked)


@contextmanager
def transparent(
    data_path: DataPath, client: Pod, family: socket.AddressFamily
) -> Iterator[socket.socket]:
    """A socket of the node's that connects from a pod's address (IP_TRANSPARENT, see ip(7)).

    Not in the proxy's cgroup, where it would be left unbound (``test_client_address``).
    """
    with netns.entered(data_path.node.netns_descriptor):
        opened = socket.socket(family)
    with opened as made:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        made.bind((own(client, family), 0))
        yield made


LISTEN = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])))
print("listening", flush=True)
listener.accept()
"""

RAW_SYN = """
import json, socket, struct, sys
source, target, port, extensions = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
packed = [socket.inet_pton(socket.AF_INET6, one) for one in (source, target)]
segment = struct.pack("!HHIIBBHHH", 40000, port, 7, 0, 5 << 4, 2, 65535, 0, 0)
words = b"".join(packed) + struct.pack("!II", len(segment), 6) + segment
total = sum(struct.unpack(f"!{len(words) // 2}H", words))
while total >> 16:
    total = (total & 0xffff) + (total >> 16)
segment = segment[:16] + struct.pack("!H", ~total & 0xffff) + segment[18:]
headers = b""
for left in range(extensions, 0, -1):
    following = 60 if left > 1 else 6
    headers += struct.pack("!BBBB4x", following, 0, 1, 4)
payload = headers + segment
first = 60 if extensions else 6
packet = struct.pack("!IHBB", 6 << 28, len(payload), first, 64) + b"".join(packed) + payload
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(packet, (target, 0))
print(json.dumps("sent"))
"""
