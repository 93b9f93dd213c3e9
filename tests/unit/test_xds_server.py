"""The server with a hand-made gRPC client: sockets, debounce, several proxies, shutdown."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from culvert.model.desired import Resource
from culvert.xds.debounce import Debounce
from culvert.xds.metrics import NoMeter
from culvert.xds.resource_types import CLUSTER
from culvert.xds.server import NotSettledError, XdsServer
from culvert.xds.socket_path import SocketPathError
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, PingAckReceived


def path_stat(path: Path) -> os.stat_result:
    return path.stat()


def listing(directory: Path) -> list[str]:
    return [one.name for one in directory.iterdir()]


METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


class ManualClock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self._now = 0.0
        self.sleepers: list[tuple[float, asyncio.Event]] = []
        self.asleep = asyncio.Event()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.sleepers.append((self._now + seconds, woken))
        self.asleep.set()
        await woken.wait()

    def advance(self, seconds: float) -> None:
        self._now += seconds
        for due, woken in self.sleepers:
            if due <= self._now:
                woken.set()
        self.sleepers = [one for one in self.sleepers if not one[1].is_set()]


class Connections(NoMeter):
    """Tells when the last proxy has left."""

    def __init__(self) -> None:
        self.nobody = asyncio.Event()

    def connected(self, proxies: int) -> None:
        if proxies == 0:
            self.nobody.set()


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
        with suppress(asyncio.CancelledError, SocketPathError):
            await task


class Proxy:
    """A gRPC client that speaks the delta protocol by hand."""

    def __init__(self, channel: grpc.aio.Channel, node_id: str) -> None:
        self._node_id = node_id
        self.call: Any = ads_pb2_grpc.AggregatedDiscoveryServiceStub(
            channel
        ).DeltaAggregatedResources()

    async def send(self, **fields: Any) -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER, **fields)
        request.node.id = self._node_id
        await self.call.write(request)

    async def receive(self) -> Any:
        return await asyncio.wait_for(self.call.read(), 10)

    async def accept(self) -> Any:
        response = await self.receive()
        await self.send(response_nonce=response.nonce)
        return response


@asynccontextmanager
async def proxy(path: Path, node_id: str = "n") -> AsyncIterator[Proxy]:
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        yield Proxy(channel, node_id)


def clusters(*names: str, body: bytes = b"") -> dict[str, dict[str, Resource]]:
    return {CLUSTER: {name: Resource.of(CLUSTER, name, body) for name in names}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "xds.sock"


def names(response: Any) -> list[str]:
    return [one.name for one in response.resources]


class TestSocket:
    async def test_only_the_owner_may_connect(self, path: Path) -> None:
        async with running(XdsServer(path)):
            assert stat.S_IMODE(path_stat(path).st_mode) == 0o600
            assert stat.S_IMODE(path_stat(path.parent).st_mode) == 0o700

    async def test_who_asks_often_whether_the_server_is_there_stays_connected(
        self, path: Path
    ) -> None:
        pings = 6
        async with running(XdsServer(path)):
            reader, writer = await asyncio.open_unix_connection(path)
            h2 = H2Connection()
            h2.initiate_connection()
            answered = 0
            while answered < pings:
                h2.ping(bytes([answered] * 8))
                writer.write(h2.data_to_send())
                before = answered
                while answered == before:
                    events = h2.receive_data(await reader.read(65536))
                    assert not [one for one in events if isinstance(one, ConnectionTerminated)]
                    answered += sum(isinstance(one, PingAckReceived) for one in events)
                    writer.write(h2.data_to_send())
            writer.close()

    async def test_stale_socket_is_replaced(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        async with running(XdsServer(path)) as server, proxy(path) as one:
            server.publish(clusters("a"))
            await one.send()
            assert names(await one.accept()) == ["a"]

    async def test_socket_is_gone_after_the_server(self, path: Path) -> None:
        async with running(XdsServer(path)):
            pass
        assert listing(path.parent) == []

    async def test_socket_of_a_successor_is_left_alone(self, path: Path) -> None:
        first = XdsServer(path)
        async with running(XdsServer(path)) as second:
            task = asyncio.create_task(first.run())
            await first.ready.wait()
            # The first to start is now the one that was replaced.
            assert second.ready.is_set()
            inode = path_stat(path).st_ino
        assert path_stat(path).st_ino == inode
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert listing(path.parent) == []

    def test_file_in_the_way_is_named(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700)
        path.write_text("mine")
        with pytest.raises(SocketPathError, match="is no socket"):
            asyncio.run(XdsServer(path).run())
        assert path.read_text() == "mine"

    async def test_directory_open_to_others_is_refused(self, path: Path) -> None:
        path.parent.mkdir()
        path.parent.chmod(0o755)
        with pytest.raises(SocketPathError, match="chmod 700"):
            await XdsServer(path).run()

    async def test_overlong_path_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(SocketPathError, match="shorter directory"):
            await XdsServer(tmp_path / ("x" * 120)).run()


class TestStreams:
    async def test_two_proxies_are_served_at_once(self, path: Path) -> None:
        async with (
            running(XdsServer(path)) as server,
            proxy(path, "n") as one,
            proxy(path, "m") as two,
        ):
            for each in (one, two):
                await each.send()
            server.publish(clusters("a"))
            assert [names(await each.accept()) for each in (one, two)] == [["a"], ["a"]]
            await server.wait_synced(proxies=2)
            assert [each.node_id for each in server.statistics()] == ["m", "n"]

    async def test_node_with_a_snapshot_of_its_own_gets_that(self, path: Path) -> None:
        async with (
            running(XdsServer(path)) as server,
            proxy(path, "n") as one,
            proxy(path, "m") as two,
        ):
            server.publish(clusters("default"))
            server.publish(clusters("own"), "m")
            for each in (one, two):
                await each.send()
            assert names(await one.accept()) == ["default"]
            assert names(await two.accept()) == ["own"]
            await server.wait_synced(proxies=2)

    async def test_waiting_names_what_is_unanswered(self, path: Path) -> None:
        async with running(XdsServer(path)) as server, proxy(path) as one:
            server.publish(clusters("a"))
            await one.send()
            await one.receive()
            with pytest.raises(NotSettledError, match=r"proxy n .*Cluster \(0 pending, 1 unans"):
                await server.wait_synced(timeout_seconds=0.05)

    async def test_waiting_says_when_no_proxy_is_connected(self, path: Path) -> None:
        async with running(XdsServer(path)) as server:
            with pytest.raises(NotSettledError, match="0 of 1 proxies are connected"):
                await server.wait_synced(timeout_seconds=0.05)

    async def test_request_that_is_no_protobuf_ends_only_its_own_stream(self, path: Path) -> None:
        async with running(XdsServer(path)) as server, proxy(path) as healthy:
            server.publish(clusters("a"))
            async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
                call = channel.stream_stream(METHOD)()
                await call.write(b"\xff\xff\xff")
                assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            await healthy.send()
            assert names(await healthy.accept()) == ["a"]

    async def test_rejection_becomes_a_finding(self, path: Path) -> None:
        async with running(XdsServer(path)) as server, proxy(path) as one:
            server.publish(clusters("a"))
            await one.send()
            response = await one.receive()
            await one.send(response_nonce=response.nonce, error_detail={"message": "too odd"})
            await server.wait_synced()
            (finding,) = server.findings()
            assert finding.code == "CV0501"
            assert "too odd" in finding.message

    async def test_stopping_ends_the_streams(self, path: Path) -> None:
        async with AsyncExitStack() as outliving:
            async with running(XdsServer(path, grace_seconds=60)) as server:
                one = await outliving.enter_async_context(proxy(path))
                server.publish(clusters("a"))
                await one.send()
                await one.accept()
            assert await one.receive() is grpc.aio.EOF

    async def test_proxy_that_leaves_is_forgotten(self, path: Path) -> None:
        meter = Connections()
        async with running(XdsServer(path, meter=meter)) as server:
            async with proxy(path) as one:
                server.publish(clusters("a"))
                await one.send()
                await one.accept()
                await server.wait_synced()
                meter.nobody.clear()
            await asyncio.wait_for(meter.nobody.wait(), 10)
            assert server.statistics() == ()


class TestDebounce:
    @pytest.mark.parametrize(
        ("first", "last", "deadline"), [(0.0, 0.0, 1.0), (0.0, 3.0, 4.0), (0.0, 9.5, 10.0)]
    )
    def test_quiet_is_awaited_but_not_for_ever(
        self, first: float, last: float, deadline: float
    ) -> None:
        assert Debounce(1.0, 10.0).deadline(first, last) == deadline

    async def test_a_burst_is_one_push_of_the_last_snapshot(self, path: Path) -> None:
        clock = ManualClock()
        server = XdsServer(path, debounce=Debounce(1.0, 10.0), clock=clock)
        async with running(server), proxy(path) as one:
            await one.send()
            for revision in range(20):
                server.publish(clusters("a", body=b"%d" % revision))
                clock.advance(0.1)
            await asyncio.wait_for(clock.asleep.wait(), 10)
            clock.advance(1.0)
            response = await one.accept()
            assert response.resources[0].resource.value == b"19"
            assert response.system_version_info == "20"
            await server.wait_synced()
            assert server.statistics()[0].session.types[CLUSTER].responses == 1
