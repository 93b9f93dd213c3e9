"""TCP server that speaks first, then echoes.

It greets each client with "hello from <pod>" and a newline, sends back every byte that comes, and
when the client closes its sending side (half-close) answers "bye <bytes echoed>" and closes. On
SIGTERM it stops accepting and ends when the last client has gone or --drain seconds are over.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from culvert.rig.workloads.identity import pod_name


class Clients:
    """The clients there are, and whether all have gone."""

    def __init__(self) -> None:
        self._present: set[Greeter] = set()
        self.none_left = asyncio.Event()
        self.none_left.set()

    def add(self, client: Greeter) -> None:
        """Count a client in."""
        self._present.add(client)
        self.none_left.clear()

    def discard(self, client: Greeter) -> None:
        """Count a client out."""
        self._present.discard(client)
        if not self._present:
            self.none_left.set()


class Greeter(asyncio.Protocol):
    """One client."""

    def __init__(self, pod: str, clients: Clients) -> None:
        self._pod = pod
        self._clients = clients
        self._echoed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._clients.add(self)
        transport.write(f"hello from {self._pod}\n".encode())

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self._echoed += len(data)
        self._transport.write(data)

    def eof_received(self) -> bool:
        """Say how much was echoed, and close."""
        self._transport.write(f"bye {self._echoed}\n".encode())
        self._transport.close()
        return True

    def pause_writing(self) -> None:
        """Read no more until the client has read what it was sent."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._clients.discard(self)


async def serve(address: str | None, port: int, drain_seconds: float) -> None:
    """Serve until SIGTERM or SIGINT, then wait for the clients to go."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clients = Clients()
    pod = pod_name()
    listener = await loop.create_server(
        lambda: Greeter(pod, clients), address, port, backlog=1024, reuse_address=True
    )
    await stop.wait()
    listener.close()
    try:
        async with asyncio.timeout(drain_seconds):
            await clients.none_left.wait()
    except TimeoutError:
        return


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="tcp_greeter", description=__doc__)
    parser.add_argument("--address", default=None, help="listen here; default: everywhere")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument(
        "--drain",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="longest wait for clients to go on SIGTERM",
    )
    options = parser.parse_args()
    asyncio.run(serve(options.address, options.port, options.drain))


if __name__ == "__main__":
    main()
