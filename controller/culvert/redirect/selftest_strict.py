"""The self-test of what pods rely on that take mutual TLS only.

Runs with the programs that are about to be attached, over loopback, beside ``selftest``: what has
not left its pod is never refused, so that what the programs see shows in the counters.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from culvert.model.redirect import ANY_PORT, DestinationKey, RedirectConfig, address16
from culvert.redirect.abi import Verdict
from culvert.redirect.encode import CONFIG, STRICT, encode_config, encode_strict
from culvert.redirect.kernel import KernelMaps
from culvert.redirect.plan import Put
from culvert.redirect.report import CaseResult
from culvert.redirect.selftest import expect, run_case

PREFIX = "strict-"
"""Of the names of these cases."""

_ADDRESSES = ("127.0.0.1", "::1")
_TIMEOUT_SECONDS = 5.0


class _Bench:
    def __init__(self, maps: KernelMaps, config: RedirectConfig, netns_cookie: int) -> None:
        self.maps = maps
        self._config = config
        self._netns_cookie = netns_cookie

    def be_node(self, *, known: bool) -> None:
        """Have the programs take this namespace for the node's, or none."""
        config = replace(self._config, node_netns_cookie=self._netns_cookie if known else 0)
        self.maps.apply([Put(CONFIG, bytes(4), encode_config(config))])

    def counts(self, address: str, *, exempt: bool = False) -> dict[Verdict, int]:
        """Which verdicts one connection adds to, and how often."""
        before = self.maps.tallies()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.create_server((address, 0), family=family) as listener:
            port_host = listener.getsockname()[1]
            entries = {DestinationKey(address16(address), ANY_PORT): True}
            if exempt:
                entries[DestinationKey(address16(address), port_host)] = False
            self.maps.apply([Put(STRICT, *entry) for entry in encode_strict(entries)])
            client = socket.create_connection((address, port_host), timeout=_TIMEOUT_SECONDS)
            with client, listener.accept()[0] as server:
                client.sendall(b"x")
                expect(server.recv(1) == b"x", f"no byte arrived over {address}")
        after = self.maps.tallies()
        added = {verdict: after[verdict].count - before[verdict].count for verdict in Verdict}
        return {
            verdict: count
            for verdict, count in added.items()
            if count and verdict.name.startswith("STRICT_")
        }


def _requests_are_seen(bench: _Bench) -> str:
    bench.be_node(known=False)
    for address in _ADDRESSES:
        seen = bench.counts(address)
        expect(
            seen == {Verdict.STRICT_ALLOWED_SELF: 1},
            f"one connection over {address} was judged as {_text(seen)}",
        )
        seen = bench.counts(address, exempt=True)
        expect(not seen, f"a port that takes plain text was judged as {_text(seen)}")
    return "each connection judged once, over IPv4 and IPv6"


def _node_is_known(bench: _Bench) -> str:
    bench.be_node(known=True)
    for address in _ADDRESSES:
        seen = bench.counts(address)
        expect(
            seen == {Verdict.STRICT_ALLOWED_NODE: 1},
            f"a connection of the node itself over {address} was judged as {_text(seen)}",
        )
    return "connections of the node itself told from others"


def _text(seen: dict[Verdict, int]) -> str:
    return ", ".join(f"{verdict.name.lower()} {count}" for verdict, count in seen.items()) or "none"


CASES: tuple[tuple[str, Callable[[_Bench], str]], ...] = (
    (PREFIX + "requests-seen", _requests_are_seen),
    (PREFIX + "node-known", _node_is_known),
)


def run_strict_cases(
    maps: KernelMaps, config: RedirectConfig, netns_cookie: int
) -> list[CaseResult]:
    """Run every case; to be called in the private network, in the self-test's cgroup.

    ``netns_cookie`` is that network's. The maps keep what the last case put there.
    """
    bench = _Bench(maps, config, netns_cookie)
    return [run_case(name, partial(case, bench)) for name, case in CASES]
