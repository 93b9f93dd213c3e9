"""The self-test of what pods rely on that take mutual TLS only.

Runs with the programs that are about to be attached, over loopback, beside ``selftest``: what has
not left its pod is never refused, so that what the programs see shows in the counters.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from culvert.model.redirect import (
    ANY_POD,
    ANY_PORT,
    DestinationKey,
    RedirectConfig,
    address16,
)
from culvert.redirect.abi import Verdict
from culvert.redirect.encode import (
    CONFIG,
    STRICT,
    STRICT_PODS,
    encode_config,
    encode_strict,
    encode_strict_pods,
)
from culvert.redirect.kernel import KernelMaps
from culvert.redirect.plan import Put, diff
from culvert.redirect.report import CaseResult
from culvert.redirect.selftest import expect, run_case

PREFIX = "strict-"
"""Of the names of these cases."""

_ADDRESSES = ("127.0.0.1", "::1")
_TIMEOUT_SECONDS = 5.0


class _Bench:
    def __init__(
        self, maps: KernelMaps, config: RedirectConfig, netns_cookie: int, cgroup_id: int
    ) -> None:
        self.maps = maps
        self.cgroup_id = cgroup_id
        self._config = config
        self._netns_cookie = netns_cookie

    def be_node(self, *, known: bool) -> None:
        """Have the programs take this namespace for the node's, or none."""
        config = replace(self._config, node_netns_cookie=self._netns_cookie if known else 0)
        self.maps.apply([Put(CONFIG, bytes(4), encode_config(config))])

    def know_pods(self, strict_pods: Mapping[int, bool]) -> None:
        """Have the programs know these pods, by their cgroups, and no others."""
        have, want = self.maps.read()[STRICT_PODS], dict(encode_strict_pods(strict_pods))
        self.maps.apply(diff({STRICT_PODS: have}, {STRICT_PODS: want}))

    def counts(
        self, address: str, *, known: bool = True, exempt: bool = False
    ) -> dict[Verdict, int]:
        """Which verdicts one connection to an address adds to, and how often.

        The address is ``known`` as one that takes no plain text, at its port unless ``exempt``.
        """
        before = self.maps.tallies()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.create_server((address, 0), family=family) as listener:
            port_host = listener.getsockname()[1]
            entries = {DestinationKey(address16(address), ANY_PORT): True} if known else {}
            if exempt:
                entries[DestinationKey(address16(address), port_host)] = False
            have, want = self.maps.read()[STRICT], dict(encode_strict(entries))
            self.maps.apply(diff({STRICT: have}, {STRICT: want}))
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


def _pods_are_told_apart(bench: _Bench) -> str:
    bench.be_node(known=False)
    own, judged = bench.cgroup_id, {Verdict.STRICT_ALLOWED_SELF: 1}
    for pods, wanted in (
        ({own: True, ANY_POD: False}, judged),
        ({own: False, ANY_POD: True}, {}),
        ({ANY_POD: True}, judged),
    ):
        bench.know_pods(pods)
        for address in _ADDRESSES:
            seen = bench.counts(address, known=False)
            expect(
                seen == wanted,
                f"a connection over {address} to a pod known by its cgroup was judged as "
                f"{_text(seen)}, not as {_text(wanted)}",
            )
    bench.know_pods({})
    return "pods told by their cgroups where their addresses are not known"


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
    (PREFIX + "pods-told-apart", _pods_are_told_apart),
    (PREFIX + "node-known", _node_is_known),
)


def run_strict_cases(
    maps: KernelMaps, config: RedirectConfig, netns_cookie: int, cgroup_id: int
) -> list[CaseResult]:
    """Run every case; to be called in the private network, in the self-test's cgroup.

    ``netns_cookie`` is that network's, ``cgroup_id`` that cgroup's. The maps keep what the
    last case put there.
    """
    bench = _Bench(maps, config, netns_cookie, cgroup_id)
    return [run_case(name, partial(case, bench)) for name, case in CASES]
