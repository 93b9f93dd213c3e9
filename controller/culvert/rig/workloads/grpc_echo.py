"""gRPC server (HTTP/2 without TLS), messages being JSON or raw bytes instead of protobuf.

    /culvert.Echo/Say      unary: JSON with pod, node, metadata seen, peer, body size
    /culvert.Echo/Count    server stream: {"pod", "number"}, every --interval-ms, until cancelled
    /culvert.Echo/Chat     both ways: each message back as it came

On SIGTERM it sends GOAWAY, finishes what is under way, and ends after at most --drain seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from collections.abc import AsyncIterator
from itertools import count

import grpc
import grpc.aio

from culvert.rig.workloads.identity import node_name, pod_name

SERVICE = "culvert.Echo"
Context = grpc.aio.ServicerContext[bytes, bytes]


class Echo:
    """The methods of the service."""

    def __init__(self, interval_seconds: float) -> None:
        self._pod = pod_name()
        self._node = node_name()
        self._interval_seconds = interval_seconds

    async def say(self, request: bytes, context: Context) -> bytes:
        """Answer what was seen of the call."""
        document = {
            "pod": self._pod,
            "node": self._node,
            "metadata": [[k, str(v)] for k, v in context.invocation_metadata() or ()],
            "remote": context.peer(),
            "body_bytes": len(request),
        }
        return json.dumps(document).encode()

    async def count(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """Count until the client has enough."""
        for number in count():
            yield json.dumps({"pod": self._pod, "number": number}).encode()
            await asyncio.sleep(self._interval_seconds)

    async def chat(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Send every message back."""
        async for request in requests:
            yield request

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the methods as gRPC wants them; bytes go in and out unchanged."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Say": grpc.unary_unary_rpc_method_handler(self.say),
                "Count": grpc.unary_stream_rpc_method_handler(self.count),
                "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            },
        )


async def serve(address: str, port: int, interval_seconds: float, drain_seconds: float) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Echo(interval_seconds).handlers(),))
    server.add_insecure_port(f"{address}:{port}")
    await server.start()
    await stop.wait()
    await server.stop(drain_seconds)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="grpc_echo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--address", default="[::]", help="listen here; default: everywhere")
    parser.add_argument("--port", type=int, default=9090)
    parser.add_argument("--interval-ms", type=float, default=100.0, help="pace of Count")
    parser.add_argument(
        "--drain",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="longest wait for calls under way on SIGTERM",
    )
    options = parser.parse_args()
    asyncio.run(serve(options.address, options.port, options.interval_ms / 1000, options.drain))


if __name__ == "__main__":
    main()
