"""A restarted agent attaches over what is attached: nothing is missed and nothing runs twice."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from culvert.redirect.abi import Verdict
from culvert.redirect.attach import attach, hooks
from culvert.rig import Pod
from culvert.rig.cgroup import find_mount

from tests.kernel.data_path import DataPath, Peer, load, original_destination

pytestmark = pytest.mark.kernel

REPLACEMENTS = 50

CONNECT_UNTIL_TOLD = """
import json, select, socket, sys
asked = (sys.argv[1], int(sys.argv[2]))
made = failed = 0
print("started", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        with socket.create_connection(asked, 10) as connection:
            made += connection.recv(1) == b"!"
    except OSError:
        failed += 1
print(json.dumps([made, failed]))
"""


class Answering:
    """The proxy's stand-in, answering; keeps what each connection was meant to reach."""

    def __init__(self, data_path: DataPath) -> None:
        self.originals: list[Peer] = []
        self._listener = data_path.proxy.listen()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def await_another(self) -> None:
        """Wait until one more connection has come."""
        before = len(self.originals)
        deadline = time.monotonic() + 10
        while len(self.originals) == before:
            assert time.monotonic() < deadline, "no connection reaches the proxy"
            time.sleep(0.0005)

    def close(self) -> None:
        # Ends accept() in the other thread, which close() would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                accepted = self._listener.accept()[0]
            except OSError:
                return
            with accepted:
                self.originals.append(original_destination(accepted))
                accepted.sendall(b"!")


@contextmanager
def connecting(
    data_path: DataPath, client: Pod, asked: Peer, answered: list[int]
) -> Iterator[Answering]:
    """Have a process of the pod connect in a loop; appends how often it did, and how often not."""
    proxy = Answering(data_path)
    argv = [sys.executable, "-I", "-S", "-c", CONNECT_UNTIL_TOLD, *map(str, asked)]
    process = client.start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        yield proxy
        out, _ = process.communicate(b"stop\n", timeout=30)
        answered += json.loads(out)
        assert proxy.originals == [asked] * answered[0]
    finally:
        process.kill()
        process.communicate()
        proxy.close()


def test_every_connection_is_captured_while_programs_are_replaced(data_path: DataPath) -> None:
    """A connection in a gap would find nobody at the pod's own address, and fail."""
    client, server = data_path.add_pod("client"), data_path.add_pod("server")
    asked = data_path.capture(server.ipv4, 80)
    data_path.apply()
    answered: list[int] = []
    with connecting(data_path, client, asked, answered) as proxy:
        for _ in range(REPLACEMENTS):
            data_path.attach()
            proxy.await_another()
    made, failed = answered
    assert failed == 0
    assert made >= REPLACEMENTS
    assert data_path.count(Verdict.CONNECT_REDIRECTED) == made


def test_programs_loaded_anew_take_over_maps_and_traffic(own_data_path: DataPath) -> None:
    """An update of the agent: another load into the same place, then attached."""
    client, server = own_data_path.add_pod("client"), own_data_path.add_pod("server")
    asked = own_data_path.capture(server.ipv4, 80)
    own_data_path.apply()
    answered: list[int] = []
    with connecting(own_data_path, client, asked, answered) as proxy:
        proxy.await_another()
        upgraded = load(own_data_path.loaded.root, find_mount(), self_test=False)
        assert upgraded.maps == own_data_path.loaded.maps
        own_data_path.attach()
        proxy.await_another()
    made, failed = answered
    assert failed == 0
    assert own_data_path.count(Verdict.CONNECT_REDIRECTED) == made


def test_attaching_twice_runs_programs_once(data_path: DataPath) -> None:
    client = data_path.add_pod("client")
    asked = data_path.capture("10.96.0.10", 80)
    data_path.apply()
    data_path.attach()
    with data_path.proxy.listen() as listener, client.connect(asked):
        listener.accept()[0].close()
        assert data_path.maps.proxy_listeners() == 1
    assert data_path.count(Verdict.CONNECT_REDIRECTED) == 1
    assert data_path.count(Verdict.HANDOFF_STORED) == 1


def test_programs_run_once_for_a_proxy_inside_the_pods_cgroup(data_path: DataPath) -> None:
    """As a DaemonSet's Envoy below kubepods."""
    node = data_path.node
    data_path.detach()
    wanted = hooks(node.cgroup, node.proxy_cgroup, find_mount())
    attach(data_path.loaded.programs, data_path.links, wanted)
    client = data_path.add_pod("client")
    asked = data_path.capture("10.96.0.10", 80)
    data_path.apply()
    with (
        data_path.proxy.listen() as listener,
        client.connect(asked),
        listener.accept()[0] as accepted,
    ):
        assert data_path.maps.proxy_listeners() == 1
        assert original_destination(accepted) == asked
    assert data_path.count(Verdict.HANDOFF_STORED) == 1
    assert data_path.count(Verdict.HANDOFF_MISSING) == 0
