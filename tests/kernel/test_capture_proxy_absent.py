"""With no proxy: refused by default, direct where fail-open was asked for."""

from __future__ import annotations

import errno
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from culvert.model.redirect import DestinationFlag, PodFlag, ProxyListener
from culvert.redirect.abi import Verdict
from culvert.redirect.listening import read_proxy_listeners
from culvert.rig import Pod, netns
from culvert.rig.process import start

from tests.kernel.data_path import DataPath, Peer, original_destination, peer_of

pytestmark = pytest.mark.kernel

FAIL_OPEN = PodFlag.CAPTURED | PodFlag.FAIL_OPEN


@contextmanager
def served(server: Pod) -> Iterator[Peer]:
    """A port of the pod that somebody listens on; yields it."""
    with server.listen((server.ipv4, 0)) as listener:
        yield Peer(*listener.getsockname())


def test_fail_closed_connection_is_refused(data_path: DataPath) -> None:
    client, server = data_path.add_pod("client"), data_path.add_pod("server")
    with served(server) as address:
        data_path.capture(*address)
        data_path.apply()
        with pytest.raises(ConnectionRefusedError):
            client.connect(address)


@pytest.mark.parametrize(
    ("pod", "destination"),
    [(FAIL_OPEN, DestinationFlag.NONE), (PodFlag.CAPTURED, DestinationFlag.FAIL_OPEN)],
    ids=["pod", "destination"],
)
def test_fail_open_connection_goes_direct(
    data_path: DataPath, pod: PodFlag, destination: DestinationFlag
) -> None:
    client, server = data_path.add_pod("client", flags=pod), data_path.add_pod("server")
    with served(server) as address:
        data_path.capture(*address, flags=destination)
        data_path.apply()
        with client.connect(address) as connection:
            assert peer_of(connection) == address
    assert data_path.count(Verdict.CONNECT_PASS_FAIL_OPEN) == 1


def test_fail_open_connection_uses_the_proxy_while_it_listens(data_path: DataPath) -> None:
    client = data_path.add_pod("client", flags=FAIL_OPEN)
    asked = data_path.capture("10.96.0.10", 80)
    data_path.apply()
    with (
        data_path.proxy.listen() as listener,
        client.connect(asked),
        listener.accept()[0] as accepted,
    ):
        assert original_destination(accepted) == asked


def test_kernel_counts_the_listening_sockets_of_the_proxy(data_path: DataPath) -> None:
    with (
        data_path.proxy.listen(ProxyListener.SERVICE_TCP),
        data_path.proxy.listen(ProxyListener.SERVICE_HTTP),
    ):
        assert data_path.maps.proxy_listeners() == 2
        with data_path.proxy.listen(ProxyListener.SERVICE_TCP, socket.AF_INET6):
            assert data_path.maps.proxy_listeners() == 3
            with netns.entered(data_path.node.netns_descriptor):
                assert read_proxy_listeners(data_path.config) == 3
        assert data_path.maps.proxy_listeners() == 2
    assert data_path.maps.proxy_listeners() == 0


def test_other_listening_sockets_do_not_count(data_path: DataPath) -> None:
    """Nor do accepted ones: a pod that listens on the proxy's port number is not the proxy."""
    pod = data_path.add_pod("pod")
    port = data_path.proxy.address().port
    with (
        pod.listen((pod.ipv4, port)),
        pod.listen(("0.0.0.0", port + 1)),
        data_path.proxy.listen() as listener,
        data_path.proxy.connect(data_path.proxy.address()),
    ):
        listener.accept()[0].close()
        assert data_path.maps.proxy_listeners() == 1
    assert data_path.maps.proxy_listeners() == 0


def test_killed_proxy_no_longer_counts_as_listening(data_path: DataPath) -> None:
    """The very next connection of a fail-open pod goes direct: no agent has to notice."""
    client, server = data_path.add_pod("client", flags=FAIL_OPEN), data_path.add_pod("server")
    address = data_path.proxy.address()
    source = f"""
import socket, time
made = socket.create_server({tuple(address)!r})
print("listening", flush=True)
time.sleep(60)
"""
    node = data_path.node
    proxy = start(
        [sys.executable, "-I", "-S", "-c", source],
        netns=node.netns,
        cgroup=node.proxy_cgroup,
        stdout=subprocess.PIPE,
    )
    with proxy, served(server) as asked:
        try:
            assert proxy.stdout is not None
            assert proxy.stdout.readline() == b"listening\n"
            assert data_path.maps.proxy_listeners() == 1
        finally:
            proxy.send_signal(signal.SIGKILL)
            proxy.wait()
        data_path.capture(*asked)
        data_path.apply()
        assert data_path.maps.proxy_listeners() == 0
        with client.connect(asked) as connection:
            assert peer_of(connection) == asked
    assert data_path.count(Verdict.CONNECT_PASS_FAIL_OPEN) == 1


def test_connection_of_a_family_that_the_proxy_lacks_is_denied(data_path: DataPath) -> None:
    client = data_path.add_pod("client")
    data_path.config = replace(data_path.config, proxy6=None)
    asked = data_path.capture("fd00:96::10", 80)
    data_path.apply()
    with pytest.raises(PermissionError) as denied:
        client.connect(asked)
    assert denied.value.errno == errno.EPERM
    assert data_path.count(Verdict.CONNECT_DENY_NO_PROXY_FAMILY) == 1


def test_fail_open_connection_of_a_family_that_the_proxy_lacks_goes_direct(
    data_path: DataPath,
) -> None:
    client, server = data_path.add_pod("client", flags=FAIL_OPEN), data_path.add_pod("server")
    data_path.config = replace(data_path.config, proxy6=None)
    with server.listen((server.ipv6, 0)) as listener, data_path.proxy.listen():
        asked = data_path.capture(*listener.getsockname()[:2])
        data_path.apply()
        with client.connect(asked) as connection:
            assert peer_of(connection) == asked
    assert data_path.count(Verdict.CONNECT_PASS_FAIL_OPEN) == 1
