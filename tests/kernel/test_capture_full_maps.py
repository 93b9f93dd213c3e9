"""A full map is reported or counted; what does not fit goes on without the mesh."""

from __future__ import annotations

import socket

import pytest
from culvert.redirect.abi import Verdict
from culvert.redirect.kernel import MapFull
from culvert.redirect.syscall import Map
from culvert.rig import Pod

from tests.kernel.data_path import DataPath, Peer, original_destination, peer_of

pytestmark = pytest.mark.kernel


def proxy_gets(data_path: DataPath, client: Pod, asked: Peer) -> bool:
    """Whether the proxy gets a connection that a pod makes."""
    with (
        data_path.proxy.listen() as listener,
        client.connect(asked),
        listener.accept()[0] as accepted,
    ):
        return original_destination(accepted) == asked


def carries(near: socket.socket, far: socket.socket) -> bool:
    """Whether bytes arrive, both ways."""
    near.sendall(b"there")
    arrived = far.recv(5)
    far.sendall(b"back")
    return (arrived, near.recv(4)) == (b"there", b"back")


def test_destinations_that_do_not_fit_are_reported_and_connect_directly(
    small_data_path: DataPath,
) -> None:
    client, server = small_data_path.add_pod("client"), small_data_path.add_pod("server")
    fitting = [small_data_path.capture("10.96.0.10", 80 + index) for index in range(4)]
    with server.listen((server.ipv4, 0)) as listener:
        surplus = small_data_path.capture(*listener.getsockname())
        assert small_data_path.apply() == [MapFull("cv_destinations", 4, 1)]
        with client.connect(surplus) as connection:
            assert peer_of(connection) == surplus
    assert small_data_path.count(Verdict.CONNECT_PASS_NO_DESTINATION) == 1
    assert all(proxy_gets(small_data_path, client, asked) for asked in fitting)


def test_destination_fits_once_another_is_gone(small_data_path: DataPath) -> None:
    client = small_data_path.add_pod("client")
    for index in range(5):
        asked = small_data_path.capture("10.96.0.10", 80 + index)
    assert small_data_path.apply() == [MapFull("cv_destinations", 4, 1)]
    del small_data_path.table.destinations[next(iter(small_data_path.table.destinations))]
    # The first pass makes room only after it has tried to add.
    small_data_path.apply()
    assert small_data_path.apply() == []
    assert proxy_gets(small_data_path, client, asked)


def test_pod_that_does_not_fit_is_reported_and_not_captured(small_data_path: DataPath) -> None:
    first, _, last = (small_data_path.add_pod(name) for name in ("a", "b", "c"))
    with last.listen((last.ipv4, 0)) as listener:
        asked = small_data_path.capture(*listener.getsockname())
        assert small_data_path.apply() == [MapFull("cv_pods", 2, 1)]
        with last.connect(asked) as connection:
            assert peer_of(connection) == asked
    assert small_data_path.count(Verdict.CONNECT_PASS_NOT_ENROLLED) == 1
    assert proxy_gets(small_data_path, first, asked)


def test_connection_that_does_not_fit_stays_on_tcp_and_is_counted(
    small_data_path: DataPath,
) -> None:
    client, server = small_data_path.add_pod("client"), small_data_path.add_pod("server")
    small_data_path.accelerate()
    pairs = [small_data_path.pair(client, server) for _ in range(3)]
    try:
        assert all(carries(near, far) for near, far in pairs)
        assert small_data_path.count(Verdict.ENROL_DONE) == 4
        assert small_data_path.count(Verdict.ENROL_SKIP_PEERS_FULL) == 1
        assert small_data_path.count(Verdict.SEND_REDIRECTED) == 4
    finally:
        for near, far in pairs:
            near.close()
            far.close()


def test_connection_fits_once_another_is_closed(small_data_path: DataPath) -> None:
    client, server = small_data_path.add_pod("client"), small_data_path.add_pod("server")
    small_data_path.accelerate()
    for _ in range(6):
        near, far = small_data_path.pair(client, server)
        with near, far:
            assert carries(near, far)
    assert small_data_path.count(Verdict.ENROL_SKIP_PEERS_FULL) == 0
    assert small_data_path.count(Verdict.SEND_REDIRECTED) == 12


def test_full_sockhash_leaves_no_half_enrolled_socket(small_data_path: DataPath) -> None:
    """Reached only if peers are forgotten early: here the test takes them away."""
    client, server = small_data_path.add_pod("client"), small_data_path.add_pod("server")
    small_data_path.accelerate()
    pairs = [small_data_path.pair(client, server) for _ in range(2)]
    peers = Map(str(small_data_path.loaded.maps / "cv_peers"))
    try:
        for key in list(peers.keys()):
            peers.delete(key)
        pairs.append(small_data_path.pair(client, server))
        assert small_data_path.count(Verdict.ENROL_SKIP_SOCKHASH_FULL) == 1
        assert small_data_path.count(Verdict.ENROL_SKIP_PEER_NOT_ENROLLED) == 1
        assert list(peers.keys()) == []
        assert all(carries(near, far) for near, far in pairs)
        assert small_data_path.count(Verdict.SEND_REDIRECTED) == 0
    finally:
        peers.close()
        for near, far in pairs:
            near.close()
            far.close()


def test_more_connections_than_the_handoff_holds_keep_their_destinations(
    small_data_path: DataPath,
) -> None:
    """An entry is taken when the proxy's socket exists, long before it is accepted."""
    client = small_data_path.add_pod("client")
    asked = [small_data_path.capture("10.96.0.10", 80 + index) for index in range(4)] * 4
    small_data_path.apply()
    with small_data_path.proxy.listen() as listener:
        connections = [client.connect(one) for one in asked]
        accepted = [listener.accept()[0] for _ in asked]
        try:
            assert [original_destination(one) for one in accepted] == asked
        finally:
            for one in (*connections, *accepted):
                one.close()
    assert small_data_path.count(Verdict.HANDOFF_MISSING) == 0
