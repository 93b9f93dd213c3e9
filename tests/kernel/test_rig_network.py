"""Nodes and pods reach each other, both families, and programs run where they were put."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from culvert.rig import Node, Pod, Rig, leftovers

pytestmark = pytest.mark.kernel

Families = pytest.mark.parametrize("family", ["ipv4", "ipv6"])


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made
    assert leftovers(made.rig_id) == []


@pytest.fixture(scope="module")
def nodes(rig: Rig) -> tuple[Node, Node]:
    return rig.add_node("node-a"), rig.add_node("node-b")


@pytest.fixture(scope="module")
def client(nodes: tuple[Node, Node]) -> Pod:
    return nodes[0].add_pod("client")


def exchange(client: Pod, listener: socket.socket, host: str) -> tuple[str, bytes]:
    """Connect, send a word, and return the peer's address and what arrived."""
    with (
        client.connect((host, listener.getsockname()[1])) as ours,
        listener.accept()[0] as theirs,
    ):
        ours.sendall(b"hello")
        ours.shutdown(socket.SHUT_WR)
        return theirs.getpeername()[0], theirs.makefile("rb").read()


@Families
@pytest.mark.parametrize("where", [0, 1], ids=["same node", "other node"])
def test_pod_reaches_pod_with_its_own_address(
    nodes: tuple[Node, Node], client: Pod, where: int, family: str
) -> None:
    server = nodes[where].add_pod("server")
    host = getattr(server, family)
    with server.listen((host, 0)) as listener:
        assert exchange(client, listener, host) == (getattr(client, family), b"hello")
    nodes[where].remove_pod(server.uid)


@Families
def test_pod_reaches_the_proxy_address_of_its_own_node(
    nodes: tuple[Node, Node], client: Pod, family: str
) -> None:
    host = getattr(nodes[0].proxy_addresses, family)
    script = (
        "import socket,sys\n"
        "s = socket.create_server((sys.argv[1], 15001),"
        " family=socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)\n"
        "print('up', flush=True)\n"
        "c, peer = s.accept()\n"
        "print(peer[0], c.makefile('rb').read().decode(), flush=True)\n"
    )
    proxy = nodes[0].start(
        ["python3", "-I", "-c", script, host], cgroup=nodes[0].proxy_cgroup, stdout=-1
    )
    assert proxy.stdout is not None
    with proxy.stdout as said:
        assert said.readline() == b"up\n"
        with client.connect((host, 15001)) as ours:
            ours.sendall(b"hello")
        assert said.read().decode().split() == [getattr(client, family), "hello"]
    assert proxy.wait() == 0


@Families
def test_node_reaches_its_pod_from_the_node_address(
    nodes: tuple[Node, Node], client: Pod, family: str
) -> None:
    host = getattr(client, family)
    with client.listen((host, 0)) as listener:
        port = str(listener.getsockname()[1])
        script = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])))"
        started = nodes[0].start(["python3", "-I", "-c", script, host, port])
        connection, peer = listener.accept()
        connection.close()
        assert started.wait() == 0
    assert peer[0] == getattr(nodes[0].addresses, family)


def test_address_nobody_has_is_refused_at_once(client: Pod) -> None:
    with pytest.raises(OSError, match="unreachable"):
        client.connect(("10.96.0.1", 80), timeout_seconds=20)


def test_program_starts_in_the_pod_namespace_and_cgroup(client: Pod) -> None:
    ran = client.run(["sh", "-c", "tail -n1 /proc/self/cgroup; readlink /proc/self/ns/net"])
    cgroup, netns = ran.stdout.decode().split()
    assert cgroup.endswith(f"/node-a/pods/pod{client.uid}")
    assert netns == f"net:[{client.netns.stat().st_ino}]"


def test_container_has_a_cgroup_below_its_pod(client: Pod) -> None:
    started = client.start(["tail", "-n1", "/proc/self/cgroup"], container="app", stdout=-1)
    out, _ = started.communicate()
    assert out.decode().strip().endswith(f"/pods/pod{client.uid}/app")


def test_missing_program_ends_with_status_127(client: Pod) -> None:
    ran = client.run(["/no/such/program"])
    assert ran.returncode == 127
    assert b"/no/such/program" in ran.stderr


def test_socket_of_a_pod_reports_errors_of_the_kernel(client: Pod) -> None:
    with pytest.raises(ConnectionRefusedError):
        client.connect((client.ipv4, 1))


def test_removed_pod_leaves_no_namespace_link_or_cgroup(nodes: tuple[Node, Node]) -> None:
    pod = nodes[0].add_pod("short-lived")
    started = pod.start(["sh", "-c", "echo up; sleep 1000"], stdout=-1)
    assert started.stdout is not None
    with started.stdout as said:
        assert said.readline() == b"up\n"
    nodes[0].remove_pod(pod.uid)
    assert started.wait() == -9
    assert not pod.netns.exists()
    assert not pod.cgroup.exists()
    listing = nodes[0].start(["cat", "/proc/net/dev"], stdout=-1)
    assert f"pod{pod.number}:" not in listing.communicate()[0].decode()


def test_address_given_back_is_not_the_next_one_taken(nodes: tuple[Node, Node]) -> None:
    first = nodes[0].add_pod("first")
    nodes[0].remove_pod(first.uid)
    second = nodes[0].add_pod("second")
    assert second.addresses != first.addresses
    nodes[0].remove_pod(second.uid)


def test_pod_that_cannot_be_made_leaves_nothing(nodes: tuple[Node, Node]) -> None:
    have = set(nodes[1].pods_cgroup.iterdir())
    with pytest.raises(OSError, match="a/b"):
        nodes[1].add_pod("wrong", uid="a/b")
    assert set(nodes[1].pods_cgroup.iterdir()) == have
    assert nodes[1].pods.keys().isdisjoint({"a/b"})


def test_second_pod_of_one_uid_is_refused(nodes: tuple[Node, Node], client: Pod) -> None:
    with pytest.raises(ValueError, match=client.uid):
        nodes[0].add_pod("again", uid=client.uid)


async def test_rig_can_be_used_beside_an_event_loop(nodes: tuple[Node, Node]) -> None:
    pod = nodes[1].add_pod("called-on-the-loop")
    started = await pod.start_async(["true"])
    assert await started.wait() == 0
    nodes[1].remove_pod(pod.uid)
