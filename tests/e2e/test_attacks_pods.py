"""Attacks of pods: on the proxy's own ports, with addresses of others, from other namespaces."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import yaml
from culvert.rig import Pod, netns
from culvert.rig.addressing import POD_MAC

from tests.e2e.besieged import besieged_town, policy
from tests.e2e.town import SERVER_PORT, Town, eventually

pytestmark = pytest.mark.kernel

PROXY = ("169.254.77.1", "fd77::1")
LISTENERS = tuple(range(15001, 15008))
VAULT = "10.96.0.30"
CONNECT = """
import socket, sys
host, port, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
is_ipv6, protocol = way == "mapped to IPv6", 262 if way == "MPTCP" else 0
made = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, socket.SOCK_STREAM, protocol)
made.settimeout(15)
place = ("::ffff:" + host, port) if is_ipv6 else (host, port)
if way == "bound to a device":
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
elif way == "marked":
    made.setsockopt(socket.SOL_SOCKET, 36, 0x1337)
elif way == "transparent":
    made.setsockopt(socket.SOL_IP, 19, 1)
elif way == "repaired":
    made.setsockopt(socket.IPPROTO_TCP, 19, 1)
elif way == "fast open, later":
    made.setsockopt(socket.IPPROTO_TCP, 30, 1)
try:
    if way == "fast open":
        made.settimeout(None)
        made.sendto(b"hi\\n", socket.MSG_FASTOPEN, place)
    else:
        made.connect(place)
        if way == "twice":
            made.close()
            made = socket.create_connection(place, timeout=15)
        if way == "repaired":
            made.setsockopt(socket.IPPROTO_TCP, 19, 0)
        made.sendall(b"hi\\n")
    print(made.recv(100))
except OSError as error:
    print(error)
"""
WAYS = (
    *("plain", "mapped to IPv6", "MPTCP", "fast open", "fast open, later", "bound to a device"),
    *("marked", "transparent", "repaired", "twice"),
)
REQUEST = b"GET /open HTTP/1.1\r\nHost: web\r\n\r\n"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """With servers ``vault-…`` for the addresses of client-a alone, whoever has them."""
    with besieged_town(tmp_path_factory.mktemp("authority")) as town:
        for end in ("a", "b"):
            program = ("tcp_greeter", "--port", str(SERVER_PORT))
            town.pod(f"node-{end}", f"vault-{end}", *program, labels={"app": "vault"})
        town.service("vault", VAULT, ["vault-a", "vault-b"], protocol="tcp")
        client = town.pods["client-a"]
        blocks = {"ipBlocks": [client.ipv4, client.ipv6]}
        town.write("policy-vault", policy("vault", "vault", [{"from": [{"source": blocks}]}]))
        town.settle()
        yield town


def heard(connection: socket.socket, said: bytes = b"") -> bytes:
    """What comes back on a connection until it ends; it must end."""
    connection.settimeout(20)
    with connection, suppress(ConnectionError):
        connection.sendall(said)
        return connection.recv(1000)
    return b""


def spoofed(pod: Pod, own: str, place: tuple[str, int]) -> bytes:
    """What a pod hears that binds an address before it connects."""
    try:
        return heard(pod.connect(place, bind=(own, 0)), b"let me in\n")
    except (TimeoutError, ConnectionError):
        return b""


def test_pod_of_the_mesh_cannot_connect_to_the_proxy(town: Town) -> None:
    name = "connect_deny_proxy_address"
    before = town.verdict("node-a", name)
    for address in PROXY:
        for port in (*LISTENERS, 15008):
            with pytest.raises(PermissionError):
                town.pods["client-a"].connect((address, port))
    assert town.verdict("node-a", name) == before + len(PROXY) * (len(LISTENERS) + 1)


@pytest.mark.parametrize("way", WAYS)
def test_no_way_to_connect_leads_past_the_mesh(town: Town, way: str) -> None:
    before = town.verdict("node-a", "connect_redirected")
    for host, port in line_places(town):
        argv = [sys.executable, "-c", CONNECT, host, str(port), way]
        for client in ("other-a", "client-a"):
            done = town.pods[client].run(argv)
            assert done.returncode == 0, done.stderr.decode()
            # What is forged with TCP_REPAIR is reset by whoever it is sent to.
            is_served = client == "client-a" and way != "repaired"
            assert (b"hello from line" in done.stdout) is is_served, (client, host, done.stdout)
    calls = 2 * len(line_places(town)) * (2 if way == "twice" else 1)
    assert town.verdict("node-a", "connect_redirected") == before + calls


def test_what_was_not_captured_gets_nothing_from_the_proxy(town: Town) -> None:
    """Also not with the number of an identity as its port."""
    missing = town.verdict("node-a", "handoff_missing")
    unknown = town.verdict("node-a", "original_unknown")
    stranger, count = town.pods["stranger-a"], 0
    for address, own in zip(PROXY, (stranger.ipv4, stranger.ipv6), strict=True):
        for port in LISTENERS:
            for own_port in (0, *numbers(town, "node-a")):
                connection = stranger.connect((address, port), bind=(own, own_port))
                assert heard(connection, REQUEST) == b"", (address, port, own_port)
                count += 1
    eventually(
        lambda: town.verdict("node-a", "original_unknown") == unknown + count,
        "all of them to be counted",
    )
    assert town.verdict("node-a", "handoff_missing") == missing + count


def test_proxy_gives_nothing_to_the_network_that_routes_to_its_address(town: Town) -> None:
    before = town.verdict("node-a", "handoff_missing")
    gateway = town.rig.nodes["node-a"].addresses
    for address, via in zip(PROXY, (gateway.ipv4, gateway.ipv6), strict=True):
        with netns.entered(town.rig.outside):
            run("ip", "route", "add", address, "via", via)
            made = [socket.create_connection((address, port), timeout=10) for port in LISTENERS]
        assert [heard(one, REQUEST) for one in made] == [b""] * len(LISTENERS)
    counted = before + len(PROXY) * len(LISTENERS)
    eventually(
        lambda: town.verdict("node-a", "handoff_missing") == counted, "all of them to be counted"
    )


@pytest.mark.parametrize("who", ["client-a", "stranger-a", "other-b", "stranger-b"])
def test_nothing_listens_at_the_nodes_addresses_but_the_tunnel(town: Town, who: str) -> None:
    addresses = town.rig.nodes["node-a"].addresses
    for address in (addresses.ipv4, addresses.ipv6):
        for port in LISTENERS:
            with pytest.raises(ConnectionRefusedError):
                town.pods[who].connect((address, port))


def test_same_service_account_of_another_namespace_is_somebody_else(town: Town) -> None:
    pod = town.rig.nodes["node-a"].add_pod("client-of-tenant", namespace="tenant")
    document = yaml.safe_load((town.manifests / "pod-client-a.yaml").read_text())
    document["metadata"] |= {"name": pod.name, "namespace": "tenant", "uid": pod.uid}
    document["status"] |= {"podIP": pod.ipv4, "podIPs": [{"ip": pod.ipv4}, {"ip": pod.ipv6}]}
    town.write("pod-client-of-tenant", namespace("tenant"), document)
    town.settle()
    before = refused(town)
    for place in line_places(town):
        assert heard(town.pods["client-a"].connect(place)).startswith(b"hello")
        assert heard(pod.connect(place)) == b"", place
    assert refused(town) == before + len(line_places(town))


def test_policies_of_another_namespace_say_nothing_of_this_ones_pods(town: Town) -> None:
    """Neither with a selector that fits, nor by the name of a Service, nor without either."""
    everybody: list[dict[str, Any]] = [{}]
    try:
        for action in ("DENY", "ALLOW"):
            by_label = policy("label", "line", everybody, action=action, namespace="tenant")
            by_target = policy("target", "line", everybody, action=action, namespace="tenant")
            del by_target["spec"]["selector"]
            of_all = json.loads(json.dumps(by_target))
            of_all["metadata"]["name"] = "all"
            by_target["spec"]["targetRefs"] = [{"kind": "Service", "name": "line"}]
            town.write("policies-of-tenant", namespace("tenant"), by_label, by_target, of_all)
            town.settle()
            for place in line_places(town):
                assert heard(town.pods["client-a"].connect(place)).startswith(b"hello"), action
                assert heard(town.pods["other-a"].connect(place)) == b"", action
        town.write("policies-of-tenant", policy("label", "line", everybody, action="DENY"))
        town.settle()
        assert heard(town.pods["client-a"].connect(line_places(town)[0])) == b"", "it would refuse"
    finally:
        town.remove("policies-of-tenant")
        town.settle()


def test_who_leaves_the_mesh_is_let_in_by_its_owner_alone(town: Town) -> None:
    """Nobody judges what comes by no proxy: the kernel refuses it where policies might."""
    leaver = town.pod(
        "node-a",
        "leaver-a",
        account="other",
        annotations={"culvert.dev/exclude-outbound-ports": str(SERVER_PORT)},
    )
    for mode_there, mode_elsewhere, enters in (
        (None, "PERMISSIVE", False),
        ("PERMISSIVE", "STRICT", True),
        ("STRICT", "PERMISSIVE", False),
    ):
        modes = [peer_authentication("tenant", mode_elsewhere)]
        if mode_there:
            modes.append(peer_authentication("default", mode_there))
        town.write("modes", namespace("tenant"), *modes)
        town.settle()
        before = [town.verdict(node, "strict_refused") for node in town.mesh.nodes]
        callers = (leaver, town.pods["stranger-a"], town.pods["stranger-b"])
        for place in line_places(town):
            for pod in callers:
                if enters:
                    assert heard(pod.connect(place)).startswith(b"hello"), (pod.name, place)
                else:
                    with pytest.raises(TimeoutError):
                        pod.connect(place, timeout_seconds=1)
            assert heard(town.pods["client-a"].connect(place)).startswith(b"hello"), place
        after = [town.verdict(node, "strict_refused") for node in town.mesh.nodes]
        least = 0 if enters else len(callers)
        assert all(now >= then + least for now, then in zip(after, before, strict=True))
    town.remove("modes")


def test_another_pods_address_opens_nothing(town: Town) -> None:
    """Neither on the same node nor on another, though policies go by the address here.

    Comes last: who has lost its addresses can do nothing more.
    """
    client, thief = town.pods["client-a"], town.pods["other-a"]
    places = [(VAULT, 80)]
    for end in ("a", "b"):
        places += [(address, SERVER_PORT) for address in addresses_of(town.pods[f"vault-{end}"])]
    for place in places:
        assert heard(client.connect(place)).startswith(b"hello from vault"), place
        assert heard(thief.connect(place)) == b"", place
    before = town.verdict("node-a", "handoff_wrong_source")
    take_addresses(town, thief, client)
    for place in places:
        own = client.ipv6 if ":" in place[0] else client.ipv4
        assert spoofed(thief, own, place) == b"", place
    assert town.verdict("node-a", "handoff_wrong_source") == before + len(places)


def numbers(town: Town, node: str) -> list[int]:
    """The numbers of the identities that have a pod on a node."""
    kept = json.loads((town.mesh.nodes[node].directory / "identity-numbers.json").read_text())
    found = [int(one) for one in kept["numbers"].values()]
    assert found
    return found


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def addresses_of(pod: Pod) -> tuple[str, str]:
    return pod.ipv4, pod.ipv6


def peer_authentication(of_namespace: str, mode: str) -> dict[str, Any]:
    """For the pods of ``line`` in a namespace."""
    return {
        "apiVersion": "culvert.dev/v1alpha1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "line", "namespace": of_namespace},
        "spec": {"selector": {"matchLabels": {"app": "line"}}, "mtls": {"mode": mode}},
    }


def line_places(town: Town) -> list[tuple[str, int]]:
    return [(town.pods[f"line-{end}"].ipv4, SERVER_PORT) for end in ("a", "b")]


def refused(town: Town) -> int:
    name = "tcp.denied.downstream_cx_total"
    return sum(node.envoy_stats()[name] for node in town.mesh.nodes.values())


def take_addresses(town: Town, thief: Pod, victim: Pod) -> None:
    """Give a pod the addresses of another, as a process with CAP_NET_ADMIN in it can.

    The node's routes follow, as they would for one that answers ARP on a bridge.
    """
    for address in addresses_of(victim):
        length, flags = (128, ["nodad"]) if ":" in address else (32, [])
        own = f"{address}/{length}"
        added = thief.run(["ip", "address", "add", own, "dev", "eth0", *flags])
        assert added.returncode == 0, added.stderr.decode()
        link = ("dev", f"pod{thief.number}")
        with netns.entered(town.rig.nodes[thief.node_name].netns):
            run("ip", "neighbour", "replace", address, "lladdr", POD_MAC, *link)
            run("ip", "route", "replace", own, *link)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
