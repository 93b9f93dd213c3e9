"""The workload programs, in pods, talking to each other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from culvert.rig import Pod, Rig, leftovers
from culvert.rig.workloads.http1 import Message, MessageReader

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig() as made:
        made.add_node("node-a")
        made.add_node("node-b")
        yield made
    assert leftovers(made.rig_id) == []


@pytest.fixture
def client(rig: Rig) -> Iterator[Pod]:
    pod = rig.nodes["node-a"].add_pod("client")
    yield pod
    rig.nodes["node-a"].remove_pod(pod.uid)


@pytest.fixture
def server(rig: Rig) -> Iterator[Pod]:
    pod = rig.nodes["node-b"].add_pod("server-pod")
    yield pod
    rig.nodes["node-b"].remove_pod(pod.uid)


def argv(name: str, *options: str) -> list[str]:
    return [sys.executable, "-m", f"culvert.rig.workloads.{name}", *options]


def start(server: Pod, client: Pod, port: int, name: str, *options: str) -> subprocess.Popen[bytes]:
    """Start a server and wait until its port takes connections."""
    started = server.start(
        argv(name, *options),
        env={"POD_NAME": server.name, "NODE_NAME": server.node_name, "PATH": "/usr/bin:/bin"},
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            client.connect((server.ipv4, port)).close()
        except ConnectionRefusedError:
            assert started.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.02)
        else:
            return started


def load(client: Pod, name: str, *options: str) -> dict[str, Any]:
    """Run a load client for a moment; return its summary, checked against its other lines."""
    ran = client.run(argv(name, "--duration", "0.4", *options))
    assert ran.returncode == 0, ran.stderr.decode()
    *lines, summary = map(json.loads, ran.stdout.splitlines())
    assert summary["summary"]
    assert sum(line["requests"] for line in lines) == summary["requests"]
    return dict(summary)


def get(client: Pod, host: str, port: int, request: bytes) -> Message:
    reader = MessageReader(responses=True)
    with client.connect((host, port)) as connection:
        connection.sendall(request)
        while True:
            data = connection.recv(65536)
            assert data, "closed without an answer"
            for message in reader.feed(data):
                return message


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_http_echo_tells_who_answered_and_what_came(client: Pod, server: Pod, family: str) -> None:
    start(server, client, 8080, "http_echo")
    answer = get(
        client,
        getattr(server, family),
        8080,
        b"POST /x?y=1 HTTP/1.1\r\nHost: h\r\nX-MiXed: v\r\nContent-Length: 3\r\n\r\nabc",
    )
    document = json.loads(answer.body)
    assert document["pod"] == "server-pod"
    assert document["node"] == "node-b"
    assert (document["method"], document["path"]) == ("POST", "/x?y=1")
    assert ["X-MiXed", "v"] in document["headers"]
    assert document["body_bytes"] == 3
    assert getattr(client, family) in document["remote"]


@pytest.mark.parametrize(
    ("path", "status", "body_bytes"),
    [("/bytes/100000", b"200", 100000), ("/status/503", b"503", None), ("/healthz", b"200", 3)],
)
def test_http_echo_routes(
    client: Pod, server: Pod, path: str, status: bytes, body_bytes: int | None
) -> None:
    start(server, client, 8080, "http_echo")
    answer = get(client, server.ipv4, 8080, f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert answer.start_line[9:12] == status
    assert body_bytes in (None, answer.body_bytes)


def test_http_echo_keeps_the_order_of_pipelined_answers(client: Pod, server: Pod) -> None:
    start(server, client, 8080, "http_echo")
    reader = MessageReader(responses=True)
    answers: list[Message] = []
    with client.connect((server.ipv4, 8080)) as connection:
        connection.sendall(
            b"GET /delay/100 HTTP/1.1\r\nHost: h\r\n\r\nGET /bytes/5 HTTP/1.1\r\nHost: h\r\n\r\n"
        )
        while len(answers) < 2:
            answers += reader.feed(connection.recv(65536))
    assert json.loads(answers[0].body)["path"] == "/delay/100"
    assert answers[1].body == bytes(5)


def test_http_echo_finishes_what_is_under_way_on_sigterm(client: Pod, server: Pod) -> None:
    running = start(server, client, 8080, "http_echo")
    with client.connect((server.ipv4, 8080)) as busy, client.connect((server.ipv4, 8080)) as idle:
        busy.sendall(b"GET /delay/500 HTTP/1.1\r\nHost: h\r\n\r\n")
        idle.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert idle.recv(65536)
        running.send_signal(signal.SIGTERM)
        assert idle.recv(65536) == b""
        data = b""
        while chunk := busy.recv(65536):
            data += chunk
    (answer,) = MessageReader(responses=True).feed(data)
    assert answer.start_line.startswith(b"HTTP/1.1 200")
    assert not answer.keeps_alive
    assert running.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        client.connect((server.ipv4, 8080))


@pytest.mark.parametrize(
    "options", [(), ("--fresh",), ("--body-bytes", "5000"), ("--rate", "100")], ids=" ".join
)
def test_http_load_counts_successes(client: Pod, server: Pod, options: tuple[str, ...]) -> None:
    start(server, client, 8080, "http_echo")
    url = f"http://[{server.ipv6}]:8080/"
    summary = load(client, "http_load", url, "--connections", "2", *options)
    assert summary["failures"] == 0
    assert summary["answers"] == {"server-pod": summary["requests"]}
    if "--rate" in options:
        assert 0 < summary["requests"] <= 41


def test_http_load_counts_failures_by_reason(client: Pod, server: Pod) -> None:
    start(server, client, 8080, "http_echo")
    refused = load(client, "http_load", f"http://{server.ipv4}:1/")
    assert (refused["requests"], set(refused["reasons"])) == (0, {"refused"})
    status = load(client, "http_load", f"http://{server.ipv4}:8080/status/503")
    assert (status["requests"], set(status["reasons"])) == (0, {"503"})


def test_http_load_goes_on_when_the_server_comes_back(client: Pod, server: Pod) -> None:
    running = start(server, client, 8080, "http_echo", "--drain", "0")
    sending = client.start(
        argv("http_load", f"http://{server.ipv4}:8080/", "--connections", "3"),
        stdout=subprocess.PIPE,
    )
    assert sending.stdout is not None
    with sending.stdout as lines:
        assert json.loads(lines.readline())["requests"] > 0
        running.kill()
        running.wait()
        start(server, client, 8080, "http_echo")
        while json.loads(lines.readline())["failures"]:
            pass
        sending.send_signal(signal.SIGTERM)
        summary = [json.loads(line) for line in lines][-1]
    assert summary["failures"] > 0
    assert sending.wait() == 0


def test_exit_status_tells_of_failures_when_asked(client: Pod, server: Pod) -> None:
    ran = client.run(
        argv("http_load", "--duration", "0.2", "--fail", f"http://{server.ipv4}:1/"),
    )
    assert ran.returncode == 1
    assert ran.stderr == b""


@pytest.mark.parametrize("options", [(), ("--fresh",), ("--line-bytes", "100000")], ids=" ".join)
def test_tcp_load_checks_greeting_and_echo(
    client: Pod, server: Pod, options: tuple[str, ...]
) -> None:
    start(server, client, 9000, "tcp_greeter")
    summary = load(client, "tcp_load", server.ipv4, "9000", "--connections", "2", *options)
    assert summary["failures"] == 0
    assert summary["answers"] == {"server-pod": summary["requests"]}


def test_tcp_greeter_says_how_much_it_echoed_after_a_half_close(client: Pod, server: Pod) -> None:
    running = start(server, client, 9000, "tcp_greeter")
    with client.connect((server.ipv4, 9000)) as connection:
        connection.sendall(b"x" * 300_000)
        connection.shutdown(1)
        said = connection.makefile("rb").read()
    assert said.startswith(b"hello from server-pod\nx")
    assert said.endswith(b"xbye 300000\n")
    running.send_signal(signal.SIGTERM)
    assert running.wait() == 0


@pytest.mark.parametrize("options", [(), ("--fresh",)], ids=" ".join)
def test_grpc_load_counts_calls(client: Pod, server: Pod, options: tuple[str, ...]) -> None:
    running = start(server, client, 9090, "grpc_echo")
    summary = load(client, "grpc_load", f"{server.ipv4}:9090", "--connections", "2", *options)
    assert summary["failures"] == 0
    assert summary["answers"] == {"server-pod": summary["requests"]}
    running.send_signal(signal.SIGTERM)
    assert running.wait() == 0


@pytest.mark.parametrize(
    "name", ["http_echo", "http_load", "tcp_greeter", "tcp_load", "grpc_echo", "grpc_load"]
)
def test_each_program_explains_itself(name: str) -> None:
    ran = subprocess.run(argv(name, "--help"), capture_output=True, check=True)
    assert ran.stdout.startswith(b"usage: " + name.encode())
