"""Byte-verified streams between pods, with everything changing that may change meanwhile.

Random sizes of chunks and reads, both directions at once, servers that speak first, half-closes,
resets, readers that pause, both address families; the acceleration flag, the budget and the size
limit change and the programs are replaced many times a second. On two kinds of path: direct, from
pod to pod, and through the node's Envoy as opaque TCP, by a Service address.

``python -m tests.kernel.stream_stress --connections 10000 --bytes 20G`` prints what came of it, one
JSON object for each path, and fails if one byte was wrong. The C program beside this file makes and
verifies the streams.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from secrets import randbits

from culvert.embedded.mesh_node import MeshOptions
from culvert.redirect.abi import Verdict
from culvert.redirect.kernel import KernelMaps, Tally
from culvert.rig import Pod, Rig

from tests.e2e.town import SERVER_PORT, Town
from tests.kernel.stream_changes import Changes, maps_of

SOURCE = Path(__file__).with_name("stream_stress.c")
NODE = "node-a"
CLIENT = "stress-client"
SERVERS = {"first": "10.96.7.1", "second": "10.96.7.2"}
"""Who speaks first, and the Service address; the IPv6 one is of the same number."""
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SENDS = [verdict for verdict in Verdict if verdict.name.startswith("SEND_")]
_OUTCOMES = ("completed", "reset", "mismatched", "truncated", "stalled", "broken")


class Route(StrEnum):
    """How the connections go."""

    DIRECT = "direct"
    PROXY = "proxy"


@dataclass(frozen=True)
class Load:
    """How much to do. ``mean_bytes`` is of one direction of one connection, roughly.

    With ``any_order`` a server half-closes before its client also through Envoy.
    """

    connections: int
    bytes: int
    parallel: int = 16
    mean_bytes: int = 1 << 20
    seed: int = 1
    any_order: bool = False


@dataclass(frozen=True)
class Ends:
    """How the connections ended, as one side saw it; a reset is a planned one."""

    completed: int
    reset: int
    mismatched: int
    truncated: int
    stalled: int
    broken: int
    sent_bytes: int
    verified_bytes: int

    @property
    def failures(self) -> int:
        """Connections that were not served as TCP serves them."""
        return self.mismatched + self.truncated + self.stalled + self.broken


@dataclass(frozen=True)
class StressReport:
    """What came of one run; the bytes by verdict are those that enrolled sockets sent."""

    route: Route
    seed: int
    connections: int
    verified_bytes: int
    redirected_bytes: int
    tcp_bytes: int
    redirected_share: float
    changes: int
    client: Ends
    servers: Ends
    sends: dict[str, int]
    problems: list[str]

    @property
    def failures(self) -> int:
        """Of both sides; a connection that completed at one side only is one as well."""
        missing = abs(self.client.completed - self.servers.completed)
        return self.client.failures + self.servers.failures + missing


def build(directory: Path) -> Path:
    """Compile the program that makes the streams."""
    binary = directory / "stream_stress"
    flags = ["-std=gnu11", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", str(binary), str(SOURCE)], check=True)
    return binary


@contextmanager
def stress_town(options: MeshOptions | None = None) -> Iterator[Town]:
    """A mesh with a client and two servers on one node, whose ports the client reaches directly."""
    with Rig() as rig:
        town = Town(rig, options or MeshOptions())
        with town.mesh:
            exclude = {"culvert.dev/exclude-outbound-ports": str(SERVER_PORT)}
            town.pod(NODE, CLIENT, annotations=exclude)
            for name, address in SERVERS.items():
                town.pod(NODE, name)
                town.service(name, address, [name], protocol="tcp")
                town.service(f"{name}6", _ipv6(address), [name], protocol="tcp")
            town.mesh.start()
            yield town


def _ipv6(service: str) -> str:
    return f"fd00:10:96::7:{service.rpartition('.')[2]}"


def targets(town: Town, route: Route) -> list[str]:
    """Where the client connects to, as ``address:port``."""
    found = []
    for name, service in SERVERS.items():
        pod = town.pods[name]
        if route is Route.DIRECT:
            found += [f"{address}:{SERVER_PORT}" for address in (pod.ipv4, pod.ipv6)]
        else:
            found += [f"{address}:80" for address in (service, _ipv6(service))]
    return found


@contextmanager
def _server(binary: Path, pod: Pod, order: str, load: Load) -> Iterator[subprocess.Popen[bytes]]:
    argv = [str(binary), "server", str(load.seed), str(load.mean_bytes), order]
    # One server has a socket for each family, the other one socket for both.
    argv += [
        f"{address}:{SERVER_PORT}" for address in (("0.0.0.0", "::"), ("::",))[order == "first"]
    ]
    with pod.start(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        try:
            assert started.stdout is not None
            if started.stdout.readline() != b"listening\n":
                raise RuntimeError(started.communicate()[1].decode())
            yield started
        finally:
            started.kill()


def _finish(process: subprocess.Popen[bytes], problems: list[str]) -> dict[str, int]:
    out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"stream_stress: status {process.returncode}: {err.decode()}")
    problems += err.decode().splitlines()
    counts: dict[str, int] = json.loads(out)
    return counts


def run(
    town: Town, binary: Path, route: Route, load: Load, *, changing: bool = True
) -> StressReport:
    """Run the streams on one kind of path, to their end."""
    argv = [str(binary), "client", str(load.seed), str(load.mean_bytes)]
    # STREAM_SERVER_CLOSES_LAST in stream_duplex.h says why.
    order = "ordered" if route is Route.PROXY and not load.any_order else "any"
    argv += [str(load.connections), str(load.bytes), str(load.parallel), order]
    argv += targets(town, route)
    node = town.mesh.nodes[NODE]
    problems: list[str] = []
    with ExitStack() as stack:
        maps = stack.enter_context(KernelMaps(maps_of(node)))
        before = maps.tallies()
        servers = [
            stack.enter_context(_server(binary, town.pods[name], name, load)) for name in SERVERS
        ]
        changes = stack.enter_context(Changes(node, maps, load.seed if changing else None))
        client = stack.enter_context(
            town.pods[CLIENT].start(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
        stack.callback(client.kill)
        near = _finish(client, problems)
        far = []
        for server in servers:
            server.send_signal(signal.SIGTERM)
            far.append(_finish(server, problems))
        after = maps.tallies()
    return _report(
        route,
        load,
        Ends(**near),
        Ends(**{name: sum(one[name] for one in far) for name in near}),
        {verdict: _grown(after[verdict], before[verdict]) for verdict in _SENDS},
        changes.made,
        problems,
    )


def _grown(after: Tally, before: Tally) -> int:
    return after.bytes - before.bytes


def _report(
    route: Route,
    load: Load,
    client: Ends,
    servers: Ends,
    sends: dict[Verdict, int],
    changes: int,
    problems: list[str],
) -> StressReport:
    redirected, total = sends[Verdict.SEND_REDIRECTED], sum(sends.values())
    return StressReport(
        route=route,
        seed=load.seed,
        connections=client.completed + client.reset + client.failures,
        verified_bytes=client.verified_bytes + servers.verified_bytes,
        redirected_bytes=redirected,
        tcp_bytes=total - redirected,
        redirected_share=round(redirected / max(1, total), 3),
        changes=changes,
        client=client,
        servers=servers,
        sends={verdict.name.lower(): size for verdict, size in sends.items() if size},
        problems=problems,
    )


def _amount(text: str) -> int:
    unit = _UNITS.get(text[-1:].upper())
    return int(float(text[:-1]) * unit) if unit else int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="stream_stress", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000, help="of all routes together")
    parser.add_argument("--bytes", type=_amount, default=_amount("20G"), help="with K, M or G")
    parser.add_argument("--mean-bytes", type=_amount, default=_amount("2M"), help="per direction")
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--seed", type=int, default=randbits(32))
    parser.add_argument("--route", type=Route, choices=list(Route), action="append")
    parser.add_argument("--unchanging", action="store_true", help="leave the configuration alone")
    parser.add_argument(
        "--any-order", action="store_true", help="servers may half-close first through Envoy too"
    )
    parser.add_argument("--plain-tcp", action="store_true", help="with no acceleration at all")
    given = parser.parse_args()
    routes = given.route or list(Route)
    load = Load(
        -(-given.connections // len(routes)),
        -(-given.bytes // len(routes)),
        given.parallel,
        given.mean_bytes,
        given.seed,
        given.any_order,
    )
    options = MeshOptions(accelerate=not given.plain_tcp)
    changing = not given.unchanging and not given.plain_tcp
    failures = 0
    with tempfile.TemporaryDirectory(prefix="culvert-") as directory, stress_town(options) as town:
        binary = build(Path(directory))
        for route in routes:
            report = run(town, binary, route, load, changing=changing)
            print(json.dumps(asdict(report), indent=2), flush=True)
            failures += report.failures
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
