"""Client of grpc_echo: unary calls; prints one JSON line a second and a summary.

Each of --connections is an HTTP/2 connection of its own, with one call at a time. "answers" counts
by the server's pod; failures are counted by gRPC status.
"""

from __future__ import annotations

import argparse
import json

import grpc
import grpc.aio

from culvert.rig.workloads import load
from culvert.rig.workloads.grpc_echo import SERVICE


class GrpcExchange:
    """One channel, holding one connection."""

    def __init__(self, target: str, body_bytes: int, *, fresh: bool) -> None:
        self._target = target
        self._body = b"x" * body_bytes
        self._fresh = fresh
        self._channel: grpc.aio.Channel | None = None

    async def __call__(self) -> load.Answer:
        """Call Say once."""
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(
                self._target,
                # Channels of one target would share a connection otherwise.
                options=[
                    ("grpc.use_local_subchannel_pool", 1),
                    ("grpc.enable_http_proxy", 0),
                    ("grpc.initial_reconnect_backoff_ms", 50),
                    ("grpc.min_reconnect_backoff_ms", 50),
                    ("grpc.max_reconnect_backoff_ms", 500),
                ],
            )
        try:
            answer = await self._channel.unary_unary(f"/{SERVICE}/Say", _unchanged, _unchanged)(
                self._body
            )
        except grpc.aio.AioRpcError as error:
            raise load.FailedError(error.code().name.lower()) from None
        if self._fresh:
            await self.aclose()
        return load.Answer(len(answer), json.loads(answer)["pod"])

    async def aclose(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()


def _unchanged(message: bytes) -> bytes:
    return message


def main() -> None:
    """Read the command line and send."""
    parser = argparse.ArgumentParser(prog="grpc_load", description=__doc__)
    parser.add_argument("target", help="host:port")
    load.add_plan_options(parser)
    parser.add_argument("--body-bytes", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="a connection for each call")
    parser.add_argument("--fail", action="store_true", help="exit 1 when a call failed")
    options = parser.parse_args()
    load.main(
        load.plan_from(options),
        lambda: GrpcExchange(options.target, options.body_bytes, fresh=options.fresh),
        fail_on_failures=options.fail,
    )


if __name__ == "__main__":
    main()
