"""A program that puts requests to an Envoy with AuthorizationPolicies, in a namespace of its own.

The listeners that judge, their rules and the names of callers are the compiler's. The two in front
of them are made here: a PROXY header tells them who calls whom, otherwise the kernel's word.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
from culvert.compile import filter_state
from culvert.compile.bootstrap import bootstrap_json, compile_bootstrap
from culvert.compile.identities import compile_identities
from culvert.compile.inbound import (
    INBOUND_HTTP_CLUSTER,
    INBOUND_TCP_CLUSTER,
    compile_connection_listener,
    compile_inbound,
    compile_request_scopes,
)
from culvert.compile.packing import pack, resource
from culvert.compile.sockets import socket_address
from culvert.compile.tcp import tcp_filter
from culvert.model.desired import Resource
from culvert.model.policy import AssignedPolicy
from culvert.model.settings import Settings
from culvert.model.token_issuer import TokenIssuer
from culvert.sources.manifests import ManifestSource
from culvert.xds.debounce import Debounce
from culvert.xds.server import XdsServer
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol

SETTINGS = Settings(identity=True)
BYTES_PORT, REQUESTS_PORT = 18001, 18002
HELLO = b"hello"


@dataclass(frozen=True)
class Question:
    """One connection, or one request where ``method`` is set, to the pods of set number ``set``."""

    set: int
    source: str
    account: str
    port: int
    method: str = ""
    host: str = ""
    path: str = ""
    headers: Mapping[str, str] | None = None


def pod_address(number: int, version: int) -> str:
    """The address of the pod that a set of policies is for."""
    high, low = divmod(number, 250)
    return f"10.200.{high}.{low + 1}" if version == 4 else f"fd00:200::{number + 1:x}"


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def front(name: str, port: int, cluster: str, identities: Resource) -> Resource:
    named = TypedExtensionConfig.FromString(identities.body)
    local = filter_state.value(
        filter_state.LOCAL_ADDRESS, "%DOWNSTREAM_LOCAL_ADDRESS%", filter_state.ONCE
    )
    return resource(
        name,
        Listener(
            name=name,
            address=socket_address("127.0.0.1", port),
            listener_filters=[
                ListenerFilter(
                    name="envoy.filters.listener.proxy_protocol", typed_config=pack(ProxyProtocol())
                )
            ],
            filter_chains=[
                FilterChain(
                    filters=[
                        Filter(
                            name="envoy.filters.network.set_filter_state",
                            typed_config=named.typed_config,
                        ),
                        filter_state.set_on_connection(local),
                        tcp_filter(name, cluster),
                    ]
                )
            ],
        ),
    )


def compile_all(
    sets: list[list[Any]],
    questions: Iterable[Question],
    numbers: Mapping[str, int],
    issuers: tuple[TokenIssuer, ...],
) -> dict[str, dict[str, Resource]]:
    assigned = [[AssignedPolicy(one) for one in policies] for policies in sets]
    identities = compile_identities(numbers)
    by_address = {
        pod_address(index, version): policies
        for index, policies in enumerate(assigned)
        for version in (4, 6)
    }
    asked = {(one.set, one.port) for one in questions if one.method}
    settings = msgspec.structs.replace(SETTINGS, token_issuers=issuers)
    names = [one.issuer for one in issuers]
    resources = [
        *compile_inbound(settings),
        compile_connection_listener(SETTINGS, {a: some for a, some in by_address.items() if some}),
        front("bytes", BYTES_PORT, INBOUND_TCP_CLUSTER, identities),
        front("requests", REQUESTS_PORT, INBOUND_HTTP_CLUSTER, identities),
    ]
    for index, port in sorted(asked):
        for version in (4, 6):
            resources += compile_request_scopes(
                pod_address(index, version), [port], assigned[index], names
            )
    snapshot: dict[str, dict[str, Resource]] = {}
    for one in resources:
        snapshot.setdefault(one.type_url, {})[one.name] = one
    return snapshot


async def serve(ports: Iterable[int]) -> None:
    """A server on every port and address: says hello at once, then answers any request."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # What comes through the listener for bytes is greeted; requests come on kept connections.
        try:
            data = await asyncio.wait_for(reader.read(65536), 0.05)
        except TimeoutError:
            writer.write(HELLO)
            data = await reader.read(65536)
        while data:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            data = await reader.read(65536)
        writer.close()

    for port in ports:
        await asyncio.start_server(greet, ["0.0.0.0", "::"], port, backlog=512)


def proxy_header(source: str, number: int, destination: str, port: int) -> bytes:
    """PROXY protocol, version 2 (its specification, section 2.2)."""
    addresses = ip_address(source).packed + ip_address(destination).packed
    family = 0x11 if len(addresses) == 8 else 0x21
    body = addresses + struct.pack("!HH", number, port)
    return b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack("!BBH", 0x21, family, len(body)) + body


def ask(question: Question, numbers: Mapping[str, int]) -> bool:
    """Whether it was allowed."""
    version = ip_address(question.source).version
    number = numbers[question.account] if question.account else 0
    head = proxy_header(question.source, number, pod_address(question.set, version), question.port)
    where = ("127.0.0.1", REQUESTS_PORT if question.method else BYTES_PORT)
    with socket.create_connection(where, timeout=10) as client:
        client.sendall(head)
        try:
            if not question.method:
                return client.recv(100) == HELLO
            lines = [f"{question.method} {question.path} HTTP/1.1", f"Host: {question.host}"]
            lines += [f"{name}: {value}" for name, value in (question.headers or {}).items()]
            client.sendall("\r\n".join([*lines, "", ""]).encode())
            answer = http.client.HTTPResponse(client, method=question.method)
            answer.begin()
        except ConnectionError:
            return False
    if answer.status not in (200, 403):
        raise AssertionError(f"{question}: status {answer.status}")
    return answer.status == 200


async def main() -> None:
    """Arguments: a folder with ``questions.json``, ``issuers.json`` and a folder of manifests for
    each set; envoy.
    """
    folder, envoy = Path(sys.argv[1]), sys.argv[2]
    questions = [Question(**one) for one in json.loads((folder / "questions.json").read_text())]
    issuers = msgspec.json.decode(
        (folder / "issuers.json").read_bytes(), type=tuple[TokenIssuer, ...]
    )
    sets = []
    for index in range(1 + max(one.set for one in questions)):
        world = ManifestSource((folder / f"set-{index}",)).read()
        assert not world.findings, world.findings
        sets.append(list(world.authorization_policies.values()))
    accounts = sorted({one.account for one in questions if one.account})
    numbers = {account: index + 1 for index, account in enumerate(accounts)}
    run("ip", "link", "set", "lo", "up")
    run("ip", "route", "add", "local", "10.200.0.0/16", "dev", "lo")
    run("ip", "-6", "route", "add", "local", "fd00:200::/32", "dev", "lo")
    await serve({one.port for one in questions})
    server = XdsServer(folder / "xds.sock", debounce=Debounce(0, 0))
    serving = asyncio.create_task(server.run())
    admin = str(folder / "admin.sock")
    bootstrap = compile_bootstrap("node-a", str(folder / "xds.sock"), admin, identity=True)
    (folder / "bootstrap.json").write_text(bootstrap_json(bootstrap))
    with (folder / "envoy.log").open("wb") as log:
        proxy = await asyncio.create_subprocess_exec(
            *(envoy, "-c", str(folder / "bootstrap.json"), "--concurrency", "1", "-l", "warning"),
            *("--disable-hot-restart",),
            stdout=log,
            stderr=log,
        )
        try:
            generation = server.publish(compile_all(sets, questions, numbers, issuers))
            await server.wait_synced(generation, timeout_seconds=60)
            answers = []
            for question in questions:
                answers.append(await asyncio.to_thread(ask, question, numbers))
        finally:
            proxy.terminate()
            await proxy.wait()
            serving.cancel()
    (folder / "answers.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    asyncio.run(main())
