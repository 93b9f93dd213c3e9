"""The proxy is shown who calls: by the caller's cgroup, in the place of its port."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from culvert.model.redirect import Pod as PodEntry
from culvert.model.redirect import PodFlag, ProxyListener, address16
from culvert.redirect.abi import Verdict
from culvert.redirect.attach import attach, hooks
from culvert.rig import Pod
from culvert.rig.cgroup import find_mount

from tests.kernel.data_path import DataPath, Peer, original_destination, peer_of, run_in

pytestmark = pytest.mark.kernel

SERVICE = {socket.AF_INET: "10.96.0.10", socket.AF_INET6: "fd00:96::10"}
FAMILIES = pytest.mark.parametrize("family", list(SERVICE), ids=lambda family: family.name)
NUMBER = 61000
OTHER_NUMBER = 7

CONNECT = """
import json, socket, sys
made = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
if len(sys.argv) > 3:
    made.bind((sys.argv[3], 0))
made.settimeout(10)
made.connect((sys.argv[1], int(sys.argv[2])))
print(json.dumps(made.getpeername()[:2]))
"""


def own(pod: Pod, family: socket.AddressFamily = socket.AF_INET) -> str:
    """The pod's address of a family."""
    return pod.ipv6 if family == socket.AF_INET6 else pod.ipv4


def caller(data_path: DataPath, client: Pod, asked: Peer) -> Peer:
    """What the proxy is shown of a connection that the pod makes, by accept()."""
    family = socket.AF_INET6 if ":" in asked.address else socket.AF_INET
    with data_path.proxy.listen(family=family) as listener, client.connect(asked):
        made, address = listener.accept()
        with made:
            assert peer_of(made) == address[:2]
            return Peer(*address[:2])


@FAMILIES
def test_proxy_is_shown_the_number_of_the_pod_that_calls(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    one = data_path.add_pod("one", identity_number=NUMBER)
    two = data_path.add_pod("two", identity_number=OTHER_NUMBER)
    asked = data_path.capture(SERVICE[family], 80)
    data_path.identify()
    assert caller(data_path, one, asked) == (own(one, family), NUMBER)
    assert caller(data_path, two, asked) == (own(two, family), OTHER_NUMBER)
    assert data_path.count(Verdict.HANDOFF_WRONG_SOURCE) == 0


@pytest.mark.parametrize("listener", [one for one in ProxyListener if one])
def test_every_listener_for_captured_connections_is_shown_the_number(
    data_path: DataPath, listener: ProxyListener
) -> None:
    client = data_path.add_pod("client", identity_number=NUMBER)
    asked = data_path.capture("10.96.0.10", 80, listener)
    data_path.identify()
    with data_path.proxy.listen(listener) as listening, client.connect(asked):
        made, address = listening.accept()
        with made:
            assert address == (client.ipv4, NUMBER)
            assert original_destination(made) == asked


def test_mapped_socket_has_the_number_of_its_pod(data_path: DataPath) -> None:
    client = data_path.add_pod("client", identity_number=NUMBER)
    data_path.capture("10.96.0.10", 80)
    data_path.identify()
    with data_path.proxy.listen() as listener:
        assert run_in(client, CONNECT, "::ffff:10.96.0.10", 80) == ["::ffff:10.96.0.10", 80]
        made, address = listener.accept()
        with made:
            assert address == (client.ipv4, NUMBER)


@FAMILIES
def test_application_sees_the_peer_it_asked_for_all_the_same(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    client = data_path.add_pod("client", identity_number=NUMBER)
    asked = data_path.capture(SERVICE[family], 80)
    data_path.identify()
    with data_path.proxy.listen(family=family), client.connect(asked) as connection:
        assert peer_of(connection) == asked


def test_captured_pod_without_an_identity_has_the_number_0(data_path: DataPath) -> None:
    client = data_path.add_pod("client")
    asked = data_path.capture("10.96.0.10", 80)
    data_path.identify()
    assert caller(data_path, client, asked) == (client.ipv4, 0)


@FAMILIES
def test_connection_that_no_hook_captured_has_the_number_0(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    """Its port is its own choice, and could be the number of any identity."""
    outsider = data_path.add_pod("outsider", flags=PodFlag.NONE)
    data_path.identify()
    address = data_path.proxy.address(family=family)
    with (
        data_path.proxy.listen(family=family) as listener,
        outsider.connect(address, bind=(own(outsider, family), NUMBER)),
    ):
        made, shown = listener.accept()
        with made:
            assert shown[:2] == (own(outsider, family), 0)
            assert peer_of(made).port == 0


def test_other_ports_of_the_proxy_are_shown_the_callers_port(data_path: DataPath) -> None:
    outsider = data_path.add_pod("outsider", flags=PodFlag.NONE)
    data_path.identify()
    tunnel = Peer(data_path.proxy.address().address, 15008)
    with (
        data_path.proxy.listen_at(tunnel) as listener,
        outsider.connect(tunnel) as connection,
    ):
        made, shown = listener.accept()
        with made:
            assert shown == connection.getsockname()


def test_without_identities_the_proxy_is_shown_the_callers_port(data_path: DataPath) -> None:
    client = data_path.add_pod("client", identity_number=NUMBER)
    asked = data_path.capture("10.96.0.10", 80)
    data_path.apply()
    with data_path.proxy.listen() as listener, client.connect(asked) as connection:
        made, shown = listener.accept()
        with made:
            assert shown == connection.getsockname()


@FAMILIES
def test_address_of_another_pod_is_not_handed_off_and_counted(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    """The pod has all rights inside its namespace: it even answers at the proxy's address."""
    victim = data_path.add_pod("victim", identity_number=NUMBER)
    attacker = data_path.add_pod("attacker", identity_number=OTHER_NUMBER)
    asked = data_path.capture(SERVICE[family], 80)
    data_path.identify()
    proxy = data_path.proxy.address(family=family)
    for taken in (own(victim, family), proxy.address):
        give_address(attacker, taken, "lo")
    with attacker.listen(proxy):
        assert run_in(attacker, CONNECT, *asked, own(victim, family)) == list(asked)
    assert data_path.count(Verdict.CONNECT_REDIRECTED) == 1
    assert data_path.count(Verdict.HANDOFF_WRONG_SOURCE) == 1
    assert data_path.count(Verdict.HANDOFF_STORED) == 0


def test_connection_from_an_address_the_cluster_does_not_know_is_refused(
    data_path: DataPath,
) -> None:
    client = data_path.add_pod("client", identity_number=NUMBER)
    asked = data_path.capture("10.96.0.10", 80)
    data_path.identify()
    entry = data_path.table.pods[client.cgroup_id]
    data_path.table.pods[client.cgroup_id] = replace(entry, addresses=(address16("10.244.1.200"),))
    data_path.apply()
    with data_path.proxy.listen() as listener, client.connect(asked):
        made, shown = listener.accept()
        with made:
            assert shown == (client.ipv4, 0)
            # The kernel's own answer: ENOENT with netfilter, else ENOPROTOOPT.
            with pytest.raises(OSError, match=r"\[Errno (2|92)\]"):
                original_destination(made)
    assert data_path.count(Verdict.HANDOFF_WRONG_SOURCE) == 1
    assert data_path.count(Verdict.ORIGINAL_UNKNOWN) == 1


@FAMILIES
def test_pod_with_a_second_address_calls_from_its_own(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    client = data_path.add_pod("client", identity_number=NUMBER)
    give_address(
        client, {socket.AF_INET: "10.7.0.1", socket.AF_INET6: "2001:db8::1"}[family], "eth0"
    )
    asked = data_path.capture(SERVICE[family], 80)
    data_path.identify()
    assert caller(data_path, client, asked) == (own(client, family), NUMBER)


@FAMILIES
def test_pod_whose_address_is_not_known_yet_has_its_number(
    data_path: DataPath, family: socket.AddressFamily
) -> None:
    """Its containers may run before its status has an address."""
    client = data_path.add_pod("client", flags=PodFlag.NONE)
    data_path.table.pods[client.cgroup_id] = PodEntry(PodFlag.CAPTURED, identity_number=NUMBER)
    asked = data_path.capture(SERVICE[family], 80)
    data_path.identify()
    assert caller(data_path, client, asked) == (own(client, family), NUMBER)


def test_pod_whose_address_is_not_known_yet_may_not_use_another_pods(data_path: DataPath) -> None:
    client = data_path.add_pod("client", identity_number=NUMBER)
    data_path.table.pods[client.cgroup_id] = PodEntry(PodFlag.CAPTURED, identity_number=NUMBER)
    asked = data_path.capture("10.96.0.10", 80)
    data_path.identify()
    with data_path.proxy.listen() as listener, client.connect(asked), listener.accept()[0]:
        pass
    assert data_path.count(Verdict.HANDOFF_WRONG_SOURCE) == 1


def test_number_follows_the_cgroup_when_another_pod_has_the_address(data_path: DataPath) -> None:
    client = data_path.add_pod("client", identity_number=NUMBER)
    asked = data_path.capture("10.96.0.10", 80)
    data_path.identify()
    assert caller(data_path, client, asked) == (client.ipv4, NUMBER)
    entry = data_path.table.pods.pop(client.cgroup_id)
    # The helper that makes sockets lives in the old cgroup.
    client.sockets.close()
    client.cgroup.rmdir()
    client.cgroup.mkdir()
    data_path.table.pods[client.cgroup_id] = replace(entry, identity_number=OTHER_NUMBER)
    data_path.apply()
    with data_path.proxy.listen() as listener:
        run_in(client, CONNECT, *asked)
        made, shown = listener.accept()
        with made:
            assert shown == (client.ipv4, OTHER_NUMBER)


@pytest.mark.parametrize("identity", [False, True], ids=["ports", "numbers"])
def test_proxy_inside_the_pods_cgroup_is_shown_the_caller(
    data_path: DataPath, identity: bool
) -> None:
    """As a DaemonSet's Envoy below kubepods: the pods' programs run for it as well."""
    data_path.detach()
    node = data_path.node
    wanted = hooks(node.cgroup, node.proxy_cgroup, find_mount())
    attach(data_path.loaded.programs, data_path.links, wanted)
    client = data_path.add_pod("client", identity_number=NUMBER)
    asked = data_path.capture("10.96.0.10", 80)
    data_path.config = replace(data_path.config, identity=identity)
    data_path.apply()
    with data_path.proxy.listen() as listener, client.connect(asked) as connection:
        made, shown = listener.accept()
        with made:
            assert shown == (client.ipv4, NUMBER if identity else connection.getsockname()[1])


def give_address(pod: Pod, address: str, link: str) -> None:
    """Add an address to a link of the pod, as a process with CAP_NET_ADMIN in it can."""
    length = 128 if ":" in address else 32
    flags = ["nodad"] if ":" in address else []
    argv = ["ip", "address", "add", f"{address}/{length}", "dev", link, *flags]
    added = pod.run(argv)
    assert added.returncode == 0, added.stderr.decode()
