"""What is left alone: what a pod excludes, what no entry names, and who is not in the mesh."""

from __future__ import annotations

import errno
import socket

import pytest
from culvert.model.redirect import Address16, LocalFlag, PodFlag, ProxyListener, address16
from culvert.redirect.abi import Verdict
from culvert.rig import Pod

from tests.kernel.data_path import DataPath, Peer, original_destination, peer_of

pytestmark = pytest.mark.kernel

PORT = 8080


def goes_direct(data_path: DataPath, client: Pod, server: Pod, verdict: Verdict) -> bool:
    """Whether a connection to a captured port of ``server`` arrives there, for that reason."""
    before = data_path.count(verdict)
    with (
        data_path.proxy.listen(),
        server.listen((server.ipv4, PORT)) as listener,
        client.connect((server.ipv4, PORT)) as connection,
    ):
        listener.settimeout(10)
        with listener.accept()[0] as accepted:
            arrived = peer_of(accepted) == (client.ipv4, connection.getsockname()[1])
    return arrived and data_path.count(verdict) == before + 1


def reaches_proxy(data_path: DataPath, client: Pod, asked: Peer) -> bool:
    """Whether the proxy gets a connection that a pod makes."""
    family = socket.AF_INET6 if ":" in asked.address else socket.AF_INET
    with (
        data_path.proxy.listen(family=family) as listener,
        client.connect(asked),
        listener.accept()[0] as accepted,
    ):
        return original_destination(accepted) == asked


def network(text: str, prefix: int) -> tuple[Address16, int]:
    """An excluded CIDR, with ``prefix`` in the bits of its own family."""
    return address16(text), prefix if ":" in text else prefix + 96


def test_excluded_port_is_left_alone_and_the_next_one_is_not(data_path: DataPath) -> None:
    client = data_path.add_pod("client", excluded_ports=[PORT])
    server = data_path.add_pod("server")
    data_path.capture(server.ipv4, PORT)
    other = data_path.capture(server.ipv4, PORT + 1)
    data_path.apply()
    assert goes_direct(data_path, client, server, Verdict.CONNECT_PASS_EXCLUDED_PORT)
    assert reaches_proxy(data_path, client, other)


def test_excluded_cidr_is_left_alone_and_its_neighbour_is_not(data_path: DataPath) -> None:
    server = data_path.add_pod("server")
    client = data_path.add_pod("client", excluded_cidrs=[network("10.244.0.0", 16)])
    data_path.capture(server.ipv4, PORT)
    outside = data_path.capture("10.245.0.1", PORT)
    data_path.apply()
    assert goes_direct(data_path, client, server, Verdict.CONNECT_PASS_EXCLUDED_CIDR)
    assert reaches_proxy(data_path, client, outside)


def test_excluded_cidr_of_ipv6_is_left_alone(data_path: DataPath) -> None:
    server = data_path.add_pod("server")
    client = data_path.add_pod("client", excluded_cidrs=[network("fd00:10:244::", 48)])
    with server.listen((server.ipv6, 0)) as listener:
        asked = data_path.capture(server.ipv6, listener.getsockname()[1])
        data_path.apply()
        with data_path.proxy.listen(family=socket.AF_INET6), client.connect(asked):
            pass
    assert data_path.count(Verdict.CONNECT_PASS_EXCLUDED_CIDR) == 1


def test_exclusions_of_one_pod_do_not_hold_for_another(data_path: DataPath) -> None:
    data_path.add_pod("other", excluded_ports=[80], excluded_cidrs=[network("10.96.0.0", 16)])
    # This one has exclusions as well, so that its entries are asked for.
    client = data_path.add_pod(
        "client", excluded_ports=[81], excluded_cidrs=[network("10.97.0.0", 16)]
    )
    asked = data_path.capture("10.96.0.10", 80)
    data_path.apply()
    assert reaches_proxy(data_path, client, asked)


def test_pod_outside_the_mesh_is_left_alone(data_path: DataPath) -> None:
    client = data_path.add_pod("client", flags=PodFlag.NONE, local=LocalFlag.NONE)
    server = data_path.add_pod("server")
    data_path.capture(server.ipv4, PORT)
    data_path.apply()
    assert goes_direct(data_path, client, server, Verdict.CONNECT_PASS_NOT_ENROLLED)


def test_destination_of_no_entry_is_left_alone(data_path: DataPath) -> None:
    client, server = data_path.add_pod("client"), data_path.add_pod("server")
    data_path.capture(server.ipv4, PORT + 1)
    data_path.apply()
    assert goes_direct(data_path, client, server, Verdict.CONNECT_PASS_NO_DESTINATION)


def test_direct_entry_overrides_the_address_wide_one(data_path: DataPath) -> None:
    client, server = data_path.add_pod("client"), data_path.add_pod("server")
    data_path.capture(server.ipv4, 0)
    data_path.capture(server.ipv4, PORT, ProxyListener.DIRECT)
    data_path.apply()
    assert goes_direct(data_path, client, server, Verdict.CONNECT_PASS_DIRECT)
    assert reaches_proxy(data_path, client, Peer(server.ipv4, PORT + 1))


def test_pod_reaches_itself_without_the_proxy(data_path: DataPath) -> None:
    pod = data_path.add_pod("pod")
    data_path.capture(pod.ipv4, PORT)
    data_path.apply()
    assert goes_direct(data_path, pod, pod, Verdict.CONNECT_PASS_SELF)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=lambda one: one.name)
def test_pod_may_not_connect_to_the_proxy_itself(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    client = data_path.add_pod("client")
    data_path.apply()
    with data_path.proxy.listen(family=family), pytest.raises(PermissionError) as refused:
        client.connect(data_path.proxy.address(family=family))
    assert refused.value.errno == errno.EPERM
    assert data_path.count(Verdict.CONNECT_DENY_PROXY_ADDRESS) == 1
