"""The xDS server against the real Envoy, on loopback and Unix sockets."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from culvert.model.desired import Resource
from culvert.xds.metrics import PrometheusMeter
from culvert.xds.resource_types import CLUSTER, ENDPOINTS, LISTENER, SCOPED_ROUTE
from culvert.xds.server import XdsServer
from culvert.xds.session import no_references
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import scoped_route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from google.protobuf import json_format
from prometheus_client import CollectorRegistry

ENVOY = Path(sys.executable).with_name("envoy")
NODE = "node-a"
TYPES = "type.googleapis.com/"
Snapshot = dict[str, dict[str, Resource]]


def packed(type_url: str, name: str, message: Any, value: dict[str, Any]) -> Resource:
    body = json_format.ParseDict(value, message).SerializeToString(deterministic=True)
    return Resource.of(type_url, name, body)


def cluster(name: str, service: str = "", **fields: Any) -> Resource:
    value = {
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {
            "service_name": service or name,
            "eds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        **fields,
    }
    return packed(CLUSTER, name, cluster_pb2.Cluster(), value)


def endpoints(name: str, *ports: int) -> Resource:
    value = {
        "cluster_name": name,
        "endpoints": [
            {
                "lb_endpoints": [
                    {
                        "endpoint": {
                            "address": {
                                "socket_address": {"address": "127.0.0.1", "port_value": port}
                            }
                        }
                    }
                    for port in ports
                ]
            }
        ],
    }
    return packed(ENDPOINTS, name, endpoint_pb2.ClusterLoadAssignment(), value)


def scope(key: str, to: str) -> Resource:
    name = f"scope-{key}"
    value = {
        "name": name,
        "key": {"fragments": [{"string_key": key}]},
        "route_configuration": {
            "name": name,
            "virtual_hosts": [
                {
                    "name": key,
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": to}}],
                }
            ],
        },
    }
    return packed(SCOPED_ROUTE, name, scoped_route_pb2.ScopedRouteConfiguration(), value)


def listener(port: int) -> Resource:
    manager = http_connection_manager_pb2.HttpConnectionManager.DESCRIPTOR.full_name
    value = {
        "name": "http",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "hcm",
                        "typed_config": {
                            "@type": TYPES + manager,
                            "stat_prefix": "http",
                            "scoped_routes": {
                                "name": "scopes",
                                "scope_key_builder": {
                                    "fragments": [
                                        {
                                            "header_value_extractor": {
                                                "name": "x-scope",
                                                "index": 0,
                                            }
                                        }
                                    ]
                                },
                                "scoped_rds": {
                                    "scoped_rds_config_source": {
                                        "ads": {},
                                        "resource_api_version": "V3",
                                    }
                                },
                            },
                            "http_filters": [
                                {
                                    "name": "envoy.filters.http.router",
                                    "typed_config": {
                                        "@type": TYPES + router_pb2.Router.DESCRIPTOR.full_name
                                    },
                                }
                            ],
                        },
                    }
                ]
            }
        ],
    }
    return packed(LISTENER, "http", listener_pb2.Listener(), value)


def snapshot(*resources: Resource) -> Snapshot:
    types: Snapshot = {}
    for one in resources:
        types.setdefault(one.type_url, {})[one.name] = one
    return types


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Pushes:
    """A meter that keeps what was written."""

    written: list[tuple[str, int]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def pushed(self, type_url: str, size_bytes: int) -> None:
        self.written.append((type_url, size_bytes))

    def answered(self, type_url: str, result: str) -> None:
        self.answers.append(result)

    def connected(self, proxies: int) -> None:
        pass

    def converged(self, seconds: float) -> None:
        pass


@asynccontextmanager
async def running(server: XdsServer) -> AsyncIterator[XdsServer]:
    task = asyncio.create_task(server.run())
    ready = asyncio.create_task(server.ready.wait())
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield server
    finally:
        ready.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@dataclass
class Envoy:
    admin: Path

    async def get(self, path: str) -> str:
        connector = aiohttp.UnixConnector(path=str(self.admin))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://admin{path}") as response,
        ):
            return await response.text()

    async def stat(self, name: str) -> int:
        text = await self.get(f"/stats?filter=^{name}$&format=json")
        return sum(one.get("value", 0) for one in json.loads(text)["stats"])

    async def clusters(self) -> dict[str, str]:
        """Active dynamic clusters -> the version they came with."""
        dump = json.loads(await self.get("/config_dump?resource=dynamic_active_clusters"))
        return {
            one["cluster"]["name"]: one["version_info"]
            for one in dump.get("configs", ())
            if "cluster" in one
        }


@asynccontextmanager
async def real_envoy(directory: Path, xds: Path) -> AsyncIterator[Envoy]:
    bootstrap = {
        "node": {"id": NODE, "cluster": "test"},
        "admin": {"address": {"pipe": {"path": str(directory / "admin.sock")}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3."
                            "HttpProtocolOptions",
                            "explicit_http_config": {"http2_protocol_options": {}},
                        }
                    },
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {"endpoint": {"address": {"pipe": {"path": str(xds)}}}}
                                ]
                            }
                        ],
                    },
                }
            ]
        },
    }
    config = directory / "bootstrap.yaml"
    config.write_text(yaml.safe_dump(bootstrap))
    with (directory / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(ENVOY),
            *("-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"),
            stdout=log,
            stderr=log,
        )
        try:
            yield Envoy(directory / "admin.sock")
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                try:
                    await asyncio.wait_for(process.wait(), 5)
                except TimeoutError:
                    process.kill()
                    await process.wait()


@asynccontextmanager
async def backend(text: str) -> AsyncIterator[int]:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n"
                writer.write(head.encode() + text.encode())
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def ask(port: int, key: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/", headers={"x-scope": key}) as response,
    ):
        return response.status, await response.text()


async def eventually(check: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for something that Envoy does by itself, for which it sends no message."""
    for _ in range(600):
        with suppress(aiohttp.ClientError, OSError):
            if await check():
                return
        await asyncio.sleep(0.05)
    pytest.fail(f"did not happen within 30 seconds: {what}")


@pytest.fixture
def xds_path(tmp_path: Path) -> Path:
    directory = tmp_path / "xds"
    directory.mkdir(mode=0o700)
    return directory / "x.sock"


async def test_envoy_serves_what_it_is_sent(tmp_path: Path, xds_path: Path) -> None:
    port = free_port()
    async with (
        backend("one") as one,
        running(XdsServer(xds_path)) as server,
        real_envoy(tmp_path, xds_path),
    ):
        server.publish(snapshot(cluster("a"), endpoints("a", one), listener(port), scope("k", "a")))
        await server.wait_synced(timeout_seconds=30)
        await eventually(lambda: answers(port, "k", (200, "one")), "the listener answers")
        (proxy,) = server.statistics()
        assert proxy.node_id == NODE
        assert proxy.session.synced
        assert server.findings() == ()


async def answers(port: int, key: str, wanted: tuple[int, str]) -> bool:
    return await ask(port, key) == wanted


async def test_restarted_server_sends_nothing_that_envoy_has(
    tmp_path: Path, xds_path: Path
) -> None:
    port = free_port()
    async with backend("one") as one, real_envoy(tmp_path, xds_path) as envoy:
        resources = snapshot(cluster("a"), endpoints("a", one), listener(port), scope("k", "a"))
        async with running(XdsServer(xds_path)) as server:
            server.publish(resources)
            await server.wait_synced(timeout_seconds=30)
            await eventually(lambda: answers(port, "k", (200, "one")), "the listener answers")
        assert await ask(port, "k") == (200, "one")

        second = XdsServer(xds_path)
        async with running(second):
            await eventually(connected(second), "Envoy reconnects")
            # The agent knows nothing yet: Envoy must keep all that it has.
            assert await ask(port, "k") == (200, "one")
            second.publish(resources)
            await second.wait_synced(timeout_seconds=30)
            (proxy,) = second.statistics()
            assert {kind: one.sent for kind, one in proxy.session.types.items()} == {
                CLUSTER: 0,
                ENDPOINTS: 0,
                LISTENER: 0,
                SCOPED_ROUTE: 0,
            }
            assert await ask(port, "k") == (200, "one")
        assert set(await envoy.clusters()) == {"a"}


def connected(server: XdsServer) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return bool(server.statistics())

    return check


async def test_what_vanished_while_the_server_was_away_is_removed(
    tmp_path: Path, xds_path: Path
) -> None:
    port = free_port()
    async with backend("one") as one, real_envoy(tmp_path, xds_path) as envoy:
        keep = (cluster("a"), endpoints("a", one), listener(port), scope("k", "a"))
        async with running(XdsServer(xds_path)) as server:
            server.publish(snapshot(*keep, cluster("b"), endpoints("b", one), scope("gone", "b")))
            await server.wait_synced(timeout_seconds=30)
        async with running(XdsServer(xds_path)) as server:
            server.publish(snapshot(*keep))
            await server.wait_synced(timeout_seconds=30)
            assert set(await envoy.clusters()) == {"a"}
            assert (await ask(port, "gone"))[0] == 404
            assert await ask(port, "k") == (200, "one")


async def test_rejected_cluster_leaves_the_rest_in_force(tmp_path: Path, xds_path: Path) -> None:
    port = free_port()
    async with (
        backend("one") as one,
        running(XdsServer(xds_path)) as server,
        real_envoy(tmp_path, xds_path) as envoy,
    ):
        good = [cluster(f"c{i}") for i in range(20)] + [endpoints(f"c{i}", one) for i in range(20)]
        # Envoy refuses a load balancing policy of subsets for an original-destination policy.
        bad = cluster("bad", lb_policy="CLUSTER_PROVIDED")
        server.publish(snapshot(*good, bad, listener(port), scope("k", "c3"), scope("x", "bad")))
        await server.wait_synced(timeout_seconds=30)
        assert await envoy.clusters() == {f"c{i}": cluster(f"c{i}").version for i in range(20)}
        (finding,) = server.findings()
        assert (finding.code, finding.subject) == ("CV0501", "Cluster bad")
        await eventually(lambda: answers(port, "k", (200, "one")), "the good route answers")

        pushes = server.statistics()[0].session.types[CLUSTER].responses
        server.publish(snapshot(*good, bad, listener(port), scope("k", "c4"), scope("x", "bad")))
        await server.wait_synced(timeout_seconds=30)
        assert server.statistics()[0].session.types[CLUSTER].responses == pushes

        mended = cluster("bad")
        server.publish(
            snapshot(*good, mended, endpoints("bad", one), listener(port), scope("x", "bad"))
        )
        await server.wait_synced(timeout_seconds=30)
        assert server.findings() == ()
        assert await ask(port, "x") == (200, "one")


async def test_changed_cluster_is_warm_at_once_though_its_endpoints_did_not_change(
    tmp_path: Path, xds_path: Path
) -> None:
    port = free_port()
    async with (
        backend("one") as one,
        running(XdsServer(xds_path)) as server,
        real_envoy(tmp_path, xds_path) as envoy,
    ):
        rest = (endpoints("a", one), listener(port), scope("k", "a"))
        server.publish(snapshot(cluster("a"), *rest))
        await server.wait_synced(timeout_seconds=30)
        changed = cluster("a", connect_timeout="2s")
        server.publish(snapshot(changed, *rest))
        await server.wait_synced(timeout_seconds=30)
        assert await envoy.clusters() == {"a": changed.version}
        assert await envoy.stat("cluster.a.init_fetch_timeout") == 0
        assert await ask(port, "k") == (200, "one")


async def test_second_cluster_on_the_same_endpoints_is_warm_at_once(
    tmp_path: Path, xds_path: Path
) -> None:
    port = free_port()
    async with (
        backend("one") as one,
        running(XdsServer(xds_path)) as server,
        real_envoy(tmp_path, xds_path) as envoy,
    ):
        rest = (cluster("a"), endpoints("a", one), listener(port), scope("k", "a"))
        server.publish(snapshot(*rest))
        await server.wait_synced(timeout_seconds=30)
        server.publish(snapshot(*rest, cluster("twin", "a"), scope("t", "twin")))
        await server.wait_synced(timeout_seconds=30)
        assert await envoy.stat("cluster.twin.init_fetch_timeout") == 0
        assert await ask(port, "t") == (200, "one")


async def test_cluster_that_was_warming_when_the_server_left_is_warmed_by_the_next(
    tmp_path: Path, xds_path: Path
) -> None:
    port = free_port()
    changed = cluster("a", connect_timeout="2s")
    async with backend("one") as one, real_envoy(tmp_path, xds_path) as envoy:
        rest = (endpoints("a", one), listener(port), scope("k", "a"))
        # Without references the endpoints do not follow their cluster, as if the server had died
        # between the two.
        async with running(XdsServer(xds_path, references=no_references)) as server:
            server.publish(snapshot(cluster("a"), *rest))
            await server.wait_synced(timeout_seconds=30)
            server.publish(snapshot(changed, *rest))
            await eventually(warming(envoy), "the changed cluster warms")
        async with running(XdsServer(xds_path)) as server:
            server.publish(snapshot(changed, *rest))
            await server.wait_synced(timeout_seconds=30)
            assert await envoy.clusters() == {"a": changed.version}
            assert await envoy.stat("cluster.a.init_fetch_timeout") == 0
            assert await ask(port, "k") == (200, "one")


def warming(envoy: Envoy) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return await envoy.stat("cluster_manager.warming_clusters") == 1

    return check


async def test_one_changed_endpoint_costs_one_small_push(tmp_path: Path, xds_path: Path) -> None:
    port = free_port()
    pushes = Pushes()
    async with (
        backend("one") as one,
        backend("two") as two,
        running(XdsServer(xds_path, meter=pushes)) as server,
        real_envoy(tmp_path, xds_path),
    ):
        services = range(100)
        before = [cluster(f"c{i}") for i in services]
        before += [scope(f"k{i}", f"c{i}") for i in services]
        before += [endpoints(f"c{i}", one) for i in services]
        before.append(listener(port))
        server.publish(snapshot(*before))
        await server.wait_synced(timeout_seconds=30)
        pushes.written.clear()
        changed = endpoints("c7", two)
        server.publish(snapshot(*before, changed))
        await server.wait_synced(timeout_seconds=30)
        ((type_url, size_bytes),) = pushes.written
        assert type_url == ENDPOINTS
        assert size_bytes < len(changed.body) + 200
        await eventually(lambda: answers(port, "k7", (200, "two")), "the new endpoint answers")


async def test_switching_a_route_never_fails_a_request(tmp_path: Path, xds_path: Path) -> None:
    port = free_port()
    async with (
        backend("one") as one,
        backend("two") as two,
        running(XdsServer(xds_path)) as server,
        real_envoy(tmp_path, xds_path),
    ):
        server.publish(
            snapshot(cluster("v0"), endpoints("v0", one), listener(port), scope("k", "v0"))
        )
        await server.wait_synced(timeout_seconds=30)
        await eventually(lambda: answers(port, "k", (200, "one")), "the listener answers")
        stop = asyncio.Event()
        statuses: list[int] = []

        async def traffic() -> None:
            while not stop.is_set():
                statuses.append((await ask(port, "k"))[0])

        async with asyncio.TaskGroup() as group:
            group.create_task(traffic())
            for i in range(1, 20):
                name = f"v{i}"
                server.publish(
                    snapshot(
                        cluster(name),
                        endpoints(name, two if i % 2 else one),
                        listener(port),
                        scope("k", name),
                    )
                )
                await server.wait_synced(timeout_seconds=30)
            stop.set()
        assert set(statuses) == {200}


async def test_metrics_count_pushes_and_answers(tmp_path: Path, xds_path: Path) -> None:
    registry = CollectorRegistry()
    async with (
        running(XdsServer(xds_path, meter=PrometheusMeter(registry))) as server,
        real_envoy(tmp_path, xds_path),
    ):
        server.publish(snapshot(cluster("a"), endpoints("a", 1)))
        await server.wait_synced(timeout_seconds=30)
        labels = {"type": "Cluster", "result": "ack"}
        assert registry.get_sample_value("culvert_xds_pushes_total", labels) == 1
        assert registry.get_sample_value("culvert_xds_connected_proxies") == 1
        assert registry.get_sample_value("culvert_xds_convergence_seconds_count") == 1
        assert registry.get_sample_value("culvert_xds_pushed_bytes_total", {"type": "Cluster"})
