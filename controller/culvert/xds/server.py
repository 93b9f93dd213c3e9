"""The delta ADS server: carries a ``Session`` per stream between gRPC and the compiler's answers.

All decisions are in ``session``; this file moves bytes, keeps time and counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError

from culvert.model.desired import Snapshot
from culvert.model.finding import Finding
from culvert.xds.debounce import Debounce
from culvert.xds.exchange import DeltaRequest, DeltaResponse
from culvert.xds.metrics import Meter, NoMeter
from culvert.xds.references import references_of
from culvert.xds.session import References, Session, SessionStatistics
from culvert.xds.socket_path import SocketPath
from culvert.xds.wire import decode_request, encode_response

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_METHOD = "DeltaAggregatedResources"

MAX_REQUEST_BYTES = 32 << 20
"""A reconnecting proxy lists every resource it has in one request."""

KEEPALIVE_SECONDS = 30
KEEPALIVE_TIMEOUT_SECONDS = 10

_log = structlog.get_logger(__name__)


class Clock(Protocol):
    """Monotonic seconds, and sleeping on the same scale."""

    def now(self) -> float:
        """Return the time in seconds."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""


class MonotonicClock:
    """The machine's clock."""

    def now(self) -> float:
        """Return the time in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds."""
        await asyncio.sleep(seconds)


class NotSettledError(Exception):
    """Proxies did not answer for a generation in time; the message says which, and for what."""


@dataclass(frozen=True, slots=True)
class ProxyStatistics:
    """One connected proxy."""

    node_id: str
    session: SessionStatistics


@dataclass(eq=False, slots=True)
class _Stream:
    """One open stream. ``outbox`` holds at most one response per type by the session's rules."""

    session: Session
    outbox: asyncio.Queue[DeltaResponse] = field(default_factory=asyncio.Queue)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    node_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Published:
    """A snapshot that streams may take."""

    snapshot: Snapshot
    generation: int


class XdsServer:
    """Serves snapshots to proxies over a Unix socket.

    Run ``run()`` in a task group; it serves until cancelled. ``publish`` may be called at any
    time from the same event loop, also before. A proxy whose node id has no snapshot of its own
    gets the default one; until there is one, its requests stay unanswered.
    """

    def __init__(
        self,
        socket: Path,
        *,
        debounce: Debounce | None = None,
        clock: Clock | None = None,
        meter: Meter | None = None,
        references: References = references_of,
        grace_seconds: float = 1.0,
        services: Sequence[Any] = (),
    ) -> None:
        """``services`` are generic gRPC handlers to serve beside."""
        self._socket = SocketPath(socket)
        self._debounce = debounce or Debounce()
        self._clock = clock or MonotonicClock()
        self._meter = meter or NoMeter()
        self._references = references
        self._grace_seconds = grace_seconds
        self._services = tuple(services)
        self._streams: set[_Stream] = set()
        self._generation = 0
        # Node id (None: every other node) -> what was published, and what streams were given.
        self._published: dict[str | None, _Published] = {}
        self._offered: dict[str | None, _Published] = {}
        self._first_change: float | None = None
        self._last_change = 0.0
        self._changed = asyncio.Event()
        self._oldest_unsettled: float | None = None
        self._progress = asyncio.Condition()
        self.ready = asyncio.Event()
        """Set while the socket accepts connections."""

    def publish(self, snapshot: Snapshot, node_id: str | None = None) -> int:
        """Make ``snapshot`` what the node should hold; return its generation.

        Without ``node_id`` it is the snapshot of every node that has none of its own. It is pushed
        after the debounce; snapshots that are overtaken are never sent.
        """
        self._generation += 1
        self._published[node_id] = _Published(snapshot, self._generation)
        now = self._clock.now()
        if self._first_change is None:
            self._first_change = now
        if self._oldest_unsettled is None:
            self._oldest_unsettled = now
        self._last_change = now
        self._changed.set()
        return self._generation

    async def run(self) -> None:
        """Serve until cancelled, then end the streams and remove the socket.

        Raises:
            SocketPathError: the socket cannot be made.
        """
        self._socket.prepare()
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.max_send_message_length", -1),
                ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.max_pings_without_data", 0),
                # The proxy asks every 30 s whether we are there. By default that is taken for too
                # often, and ends the connection every two minutes.
                ("grpc.http2.max_ping_strikes", 0),
            ]
        )
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self._serve_stream
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}), *self._services)
        )
        server.add_insecure_port(f"unix:{self._socket.temporary}")
        await server.start()
        inode = self._socket.publish()
        self.ready.set()
        try:
            await self._push_changes()
        finally:
            self.ready.clear()
            self._socket.withdraw(inode)
            for stream in self._streams:
                stream.closing.set()
            await server.stop(self._grace_seconds)

    async def wait_synced(
        self, generation: int | None = None, timeout_seconds: float = 10.0, proxies: int = 1
    ) -> None:
        """Wait until at least ``proxies`` are connected and all have settled ``generation``.

        Settled is: everything that can be was accepted, and what was rejected is in ``findings``.
        Without ``generation`` the newest published one is meant.

        Raises:
            NotSettledError: it took longer than ``timeout_seconds``.
        """
        wanted = self._generation if generation is None else generation

        def reached() -> bool:
            return len(self._streams) >= proxies and all(
                self._has_settled(stream, wanted) for stream in self._streams
            )

        try:
            async with asyncio.timeout(timeout_seconds), self._progress:
                await self._progress.wait_for(reached)
        except TimeoutError:
            raise NotSettledError(self._unsettled_text(wanted, proxies)) from None

    def statistics(self) -> tuple[ProxyStatistics, ...]:
        """Return a frozen picture of the connected proxies, by node id."""
        return tuple(
            sorted(
                (
                    ProxyStatistics(stream.node_id or "", stream.session.statistics())
                    for stream in self._streams
                ),
                key=lambda proxy: proxy.node_id,
            )
        )

    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong at this moment, each thing once."""
        found = {finding for stream in self._streams for finding in stream.session.findings()}
        return tuple(sorted(found))

    async def _push_changes(self) -> None:
        while True:
            await self._changed.wait()
            while self._first_change is not None:
                deadline = self._debounce.deadline(self._first_change, self._last_change)
                remaining = deadline - self._clock.now()
                if remaining <= 0:
                    break
                await self._clock.sleep(remaining)
            self._changed.clear()
            self._first_change = None
            self._offered = dict(self._published)
            for stream in tuple(self._streams):
                self._offer(stream)
            await self._note_progress()

    def _offer(self, stream: _Stream) -> None:
        if stream.node_id is None:
            return
        offered = self._offered.get(stream.node_id) or self._offered.get(None)
        if offered is None or stream.session.generation == offered.generation:
            return
        self._post(stream, stream.session.on_snapshot(offered.snapshot, offered.generation))

    def _post(self, stream: _Stream, responses: list[DeltaResponse]) -> None:
        for response in responses:
            stream.outbox.put_nowait(response)

    async def _serve_stream(self, _requests: object, context: Any) -> None:
        """Serve one stream until either side ends it (grpc.aio handler, bytes in and out)."""
        stream = _Stream(Session(self._references))
        self._streams.add(stream)
        self._meter.connected(len(self._streams))
        tasks = {
            asyncio.create_task(self._read(stream, context)),
            asyncio.create_task(self._write(stream, context)),
            asyncio.create_task(stream.closing.wait()),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._streams.discard(stream)
            self._meter.connected(len(self._streams))
            _log.info("proxy disconnected", node_id=stream.node_id)
            await self._note_progress()

    async def _read(self, stream: _Stream, context: Any) -> None:
        while True:
            body = await context.read()
            if body is grpc.aio.EOF:
                return
            try:
                received = decode_request(body)
            except DecodeError:
                await context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, "request is no DeltaDiscoveryRequest"
                )
            if stream.node_id is None:
                stream.node_id = received.node_id
                _log.info("proxy connected", node_id=stream.node_id)
            # The snapshot first: all that a stream ever asks is answered from one.
            self._offer(stream)
            self._count_answer(stream, received.request)
            self._post(stream, stream.session.on_request(received.request))
            await self._note_progress()

    async def _write(self, stream: _Stream, context: Any) -> None:
        while True:
            response = await stream.outbox.get()
            body = encode_response(response)
            self._meter.pushed(response.type_url, len(body))
            await context.write(body)

    def _count_answer(self, stream: _Stream, request: DeltaRequest) -> None:
        if not request.response_nonce:
            return
        if not stream.session.awaits(request.type_url, request.response_nonce):
            result = "stale"
        elif request.error is None:
            result = "ack"
        else:
            result = "nack"
            _log.warning(
                "proxy rejected configuration",
                node_id=stream.node_id,
                type_url=request.type_url,
                error=request.error,
            )
        self._meter.answered(request.type_url, result)

    async def _note_progress(self) -> None:
        if (
            self._oldest_unsettled is not None
            and self._first_change is None
            and self._streams
            and all(self._has_settled(stream, None) for stream in self._streams)
        ):
            self._meter.converged(self._clock.now() - self._oldest_unsettled)
            self._oldest_unsettled = None
        async with self._progress:
            self._progress.notify_all()

    def _has_settled(self, stream: _Stream, wanted: int | None) -> bool:
        """Whether a stream settled ``wanted`` (``None``: the newest) or the newest of its node."""
        newest = self._published.get(stream.node_id) or self._published.get(None)
        settled = stream.session.settled_generation
        if newest is None or settled is None:
            return False
        # Generations count over all nodes: one that was published for another node asks no more
        # of this one than its own newest.
        target = newest.generation if wanted is None else min(wanted, newest.generation)
        return settled >= target

    def _unsettled_text(self, generation: int, proxies: int) -> str:
        if len(self._streams) < proxies:
            return f"{len(self._streams)} of {proxies} proxies are connected"
        lines = []
        for stream in self._streams:
            if self._has_settled(stream, generation):
                continue
            types: Mapping[str, Any] = stream.session.statistics().types
            waiting = [
                f"{one.type_url.rpartition('.')[2]} ({one.pending} pending, "
                f"{one.in_flight} unanswered)"
                for one in types.values()
                if one.pending or one.in_flight
            ]
            lines.append(
                f"proxy {stream.node_id or '(no request yet)'} has not settled generation "
                f"{generation}: {', '.join(waiting) or 'it has not asked for everything yet'}"
            )
        return "; ".join(lines)
