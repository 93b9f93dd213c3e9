"""A pod's connection to a captured destination arrives at the proxy, which learns the original."""

from __future__ import annotations

import socket

import pytest
from culvert.model.redirect import ProxyListener
from culvert.redirect.abi import Verdict

from tests.kernel.data_path import DataPath, original_destination, peer_of

pytestmark = pytest.mark.kernel

SERVICE = {socket.AF_INET: "10.96.0.10", socket.AF_INET6: "fd00:96::10"}
FAMILIES = pytest.mark.parametrize("family", list(SERVICE), ids=lambda family: family.name)


@FAMILIES
def test_captured_connection_reaches_the_proxy_with_its_original_destination(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    client = data_path.add_pod("client")
    asked = data_path.capture(SERVICE[family], 80)
    data_path.apply()
    with (
        data_path.proxy.listen(family=family) as listener,
        client.connect(asked) as connection,
        listener.accept()[0] as accepted,
    ):
        assert original_destination(accepted) == asked
        connection.sendall(b"ping")
        assert accepted.recv(4) == b"ping"
    assert data_path.count(Verdict.CONNECT_REDIRECTED) == 1
    assert data_path.count(Verdict.HANDOFF_TAKEN) == 1
    assert data_path.count(Verdict.ORIGINAL_SERVED) == 1


@FAMILIES
def test_application_sees_the_peer_it_asked_for(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    client = data_path.add_pod("client")
    asked = data_path.capture(SERVICE[family], 80)
    data_path.apply()
    with data_path.proxy.listen(family=family), client.connect(asked) as connection:
        assert peer_of(connection) == asked


@FAMILIES
def test_proxy_sees_the_pod_as_the_client(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    client = data_path.add_pod("client")
    asked = data_path.capture(SERVICE[family], 80)
    data_path.apply()
    own = client.ipv6 if family == socket.AF_INET6 else client.ipv4
    with (
        data_path.proxy.listen(family=family) as listener,
        client.connect(asked) as connection,
        listener.accept()[0] as accepted,
    ):
        assert peer_of(accepted) == (own, connection.getsockname()[1])


@pytest.mark.parametrize("listener", [one for one in ProxyListener if one])
def test_destination_chooses_the_listener(data_path: DataPath, listener: ProxyListener) -> None:
    client = data_path.add_pod("client")
    asked = data_path.capture(SERVICE[socket.AF_INET], 80, listener)
    data_path.apply()
    with (
        data_path.proxy.listen(listener) as listening,
        client.connect(asked),
        listening.accept()[0] as accepted,
    ):
        assert original_destination(accepted) == asked
