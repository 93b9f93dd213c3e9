"""Client of tcp_greeter: checks the greeting, every echoed byte, and the half-close.

Prints one JSON line a second and a summary: requests are echoed lines; a wrong byte counts as the
failure "mismatch".
"""

from __future__ import annotations

import argparse
import asyncio
from itertools import count

from culvert.rig.workloads import load


class TcpExchange:
    """One connection; with ``fresh`` each exchange opens, half-closes and checks one of its own."""

    def __init__(self, host: str, port: int, line_bytes: int, *, fresh: bool) -> None:
        self._host = host
        self._port = port
        self._line_bytes = max(line_bytes, 16)
        self._fresh = fresh
        self._numbers = count()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._greeted_by = ""
        self._sent_bytes = 0

    async def __call__(self) -> load.Answer:
        """Send a line and await it back."""
        try:
            if self._streams is None:
                await self._connect()
            assert self._streams is not None
            reader, writer = self._streams
            line = f"{next(self._numbers):015d}".encode().ljust(self._line_bytes - 1, b".") + b"\n"
            writer.write(line)
            self._sent_bytes += len(line)
            if await reader.readexactly(len(line)) != line:
                raise load.FailedError("mismatch")
            if self._fresh:
                await self._say_bye(reader, writer)
            return load.Answer(len(line), self._greeted_by)
        except asyncio.IncompleteReadError:
            await self.aclose()
            raise load.FailedError("closed") from None
        except OSError as error:
            await self.aclose()
            if isinstance(error, TimeoutError):
                raise
            raise load.FailedError(load.reason_of(error)) from None
        except load.FailedError:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connect(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        self._streams = reader, writer
        self._sent_bytes = 0
        greeting = await reader.readline()
        if not greeting.startswith(b"hello from ") or not greeting.endswith(b"\n"):
            raise load.FailedError("no greeting" if not greeting else "mismatch")
        self._greeted_by = greeting.removeprefix(b"hello from ").strip().decode("latin-1")

    async def _say_bye(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        if await reader.read() != f"bye {self._sent_bytes}\n".encode():
            raise load.FailedError("mismatch")
        await self.aclose()


def main() -> None:
    """Read the command line and send."""
    parser = argparse.ArgumentParser(prog="tcp_load", description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    load.add_plan_options(parser)
    parser.add_argument("--line-bytes", type=int, default=64, help="at least 16")
    parser.add_argument("--fresh", action="store_true", help="a connection for each line")
    parser.add_argument("--fail", action="store_true", help="exit 1 when an exchange failed")
    options = parser.parse_args()
    load.main(
        load.plan_from(options),
        lambda: TcpExchange(options.host, options.port, options.line_bytes, fresh=options.fresh),
        fail_on_failures=options.fail,
    )


if __name__ == "__main__":
    main()
