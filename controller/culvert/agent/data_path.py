"""The programs and maps of this node, brought to what the compiler wants of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import structlog

from culvert.agent.options import AgentOptions, pod_levels
from culvert.compile.redirect import compile_redirect_config
from culvert.model.codes import MAP_FULL, STRICT_NOT_ENFORCED
from culvert.model.finding import Finding
from culvert.model.redirect import DestinationKey, RedirectConfig, RedirectTable
from culvert.model.settings import Settings
from culvert.netlink.proxy_address import ensure_proxy_addresses
from culvert.redirect import abi
from culvert.redirect.attach import attach, attach_sk_msg, detach_others, hooks
from culvert.redirect.early import EarlyConnections
from culvert.redirect.encode import (
    CONFIG,
    DESTINATIONS,
    PODS,
    STRICT,
    STRICT_PODS,
    MapContents,
    TableEncoder,
    encode_destination_key,
)
from culvert.redirect.kernel import KernelMaps, MapFull
from culvert.redirect.listening import read_proxy_listeners
from culvert.redirect.namespace import network_namespace_cookie
from culvert.redirect.plan import Change, Put, diff, phases
from culvert.redirect.refusals import most_refused
from culvert.redirect.report import Acceleration, LoadReport
from culvert.status.document import MapStatus, VerdictCount

_log = structlog.get_logger(__name__)

_LISTENER_CHECK_SECONDS = 1.0
_REFUSALS_SECONDS = 10.0
_REFUSALS_SHOWN = 5

_T = TypeVar("_T")


def full_map_findings(full: Iterable[MapFull]) -> list[Finding]:
    """One finding for each map that had no room."""
    return [
        Finding(
            code=MAP_FULL.id,
            subject=f"map {one.map_name}",
            field="",
            message=f"{one.refused} entries do not fit into {one.max_entries}; {_left_out(one)}",
            remedy="split the node's load, or raise the map's capacity",
        )
        for one in full
    ]


def _left_out(full: MapFull) -> str:
    if full.map_name == STRICT:
        return "exceptions for ports are left out first, then pods take plain text"
    if full.map_name == STRICT_PODS:
        return "at unknown addresses, pods left out are as the policy of the mesh says"
    return "what they stand for is not captured or not accelerated"


class DataPath:
    """What the loader pinned, in this agent's hands; a context manager, which leaves all of it."""

    def __init__(self, options: AgentOptions, report: LoadReport) -> None:
        """Open the maps.

        Raises:
            OSError: one of them is not pinned.
        """
        self._options = options
        self.report = report
        self.attached = False
        """Whether the programs run, with the maps as they are wanted."""
        self.findings: list[Finding] = []
        """The maps that have no room."""
        self.early = EarlyConnections()
        self._maps = KernelMaps(Path(report.maps_path))
        # One thread for all system calls on maps and links: they block, and must not overtake.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kernel")
        self._encoder = TableEncoder()
        self._netns_cookie = network_namespace_cookie()
        # What the maps hold: read once, for they may be a predecessor's, then kept in step.
        self._have: MapContents | None = None
        # Keys that a map did not show when it was read back.
        self._missing: dict[str, frozenset[bytes]] = dict.fromkeys(
            (DESTINATIONS, STRICT), frozenset()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the maps; pins, programs and traffic stay."""
        self._maps.close()
        self._thread.shutdown()

    async def add_proxy_addresses(self) -> None:
        """Make the node answer at the proxy's addresses."""
        addresses = self._options.settings.proxy_addresses
        added = await self._in_thread(partial(ensure_proxy_addresses, addresses))
        if added:
            _log.info("proxy addresses added", addresses=added)

    def config(self, settings: Settings) -> RedirectConfig:
        """The maps' configuration by these settings, as far as this kernel goes along."""
        return replace(
            compile_redirect_config(settings),
            accelerate=self.report.acceleration is not Acceleration.OFF,
            pod_levels=pod_levels(self._options.cgroup_root, self._options.pods_cgroup),
            node_netns_cookie=self._netns_cookie,
        )

    def identity_numbers_in_maps(self) -> frozenset[int]:
        """The identity numbers that the kernel knows now, a predecessor's perhaps."""
        pods = self._maps.read()[PODS].values()
        numbers = {abi.Pod.from_buffer_copy(value).identity_number for value in pods}
        return frozenset(numbers - {0})

    async def apply(
        self,
        table: RedirectTable,
        config: RedirectConfig,
        settle_proxy: Callable[[], Awaitable[None]],
    ) -> None:
        """Make the maps hold what is wanted; the programs are attached with the first table.

        ``settle_proxy`` is called when the proxy may forget what was removed, and returns when it
        knows what is to be added. What does not fit becomes a finding.

        Raises:
            AttachError: a program could not be attached.
        """
        want = self._encoder.encode(config, table)
        if self._have is None:
            self._have = await self._in_thread(self._maps.read)
        plan = phases(diff(self._have, want), self._have)
        release = partial(self.early.release, plan.before_proxy, self._maps.forget_early)
        await self._in_thread(release)
        full = await self._write(plan.before_proxy)
        if not self.attached:
            # Before the proxy listens: its listening sockets are counted from their first moment.
            await self._in_thread(partial(self._attach, config, capture=False))
        await settle_proxy()
        full += await self._write(plan.after_proxy)
        self._have = want
        if full:
            # What was removed after the first try may have made room.
            self._have = await self._in_thread(self._maps.read)
            full = await self._write(diff(self._have, want))
            self._have = await self._in_thread(self._maps.read)
        self.findings = [*full_map_findings(full), *self._unenforced(table)]
        written = (*plan.before_proxy, *plan.after_proxy)
        for name in self._missing:
            read_back = partial(self._read_back, name, written, want[name])
            self._missing[name] = await self._in_thread(read_back)
        follow = partial(self.early.follow, self._have.get(PODS, {}), self._maps.early)
        await self._in_thread(follow)
        if not self.attached:
            await self._in_thread(partial(self._attach, config, capture=True))
            self.attached = True

    async def check_listeners(self, config: RedirectConfig) -> None:
        """Correct the kernel's count of proxy listeners if it is off twice running; for ever."""
        last_difference = 0
        while True:
            await asyncio.sleep(_LISTENER_CHECK_SECONDS)
            real = await self._in_thread(partial(read_proxy_listeners, config))
            difference = real - self._maps.proxy_listeners()
            if difference and difference == last_difference and self.attached:
                _log.warning("corrected the count of proxy listeners", sockets=real)
                self._maps.set_proxy_listeners(real)
            last_difference = difference

    async def tell_refusals(self) -> None:
        """Log who was refused by pods that take mutual TLS only, within limits; for ever."""
        while True:
            await asyncio.sleep(_REFUSALS_SECONDS)
            refusals = await self._in_thread(self._maps.take_refused)
            shown, others = most_refused(refusals, _REFUSALS_SHOWN)
            for one in shown:
                _log.warning(
                    "a pod that takes mutual TLS only refused plain text",
                    source=one.source,
                    pod_address=one.address,
                    port=one.port_host,
                    connections=one.count,
                )
            if others:
                _log.warning("more plain text was refused", connections=others)

    def missing(self, table: RedirectTable) -> Collection[DestinationKey]:
        """Keys of the table that the maps did not show when they were read back.

        Of what is strict, all where this kernel cannot enforce it.
        """
        found = [
            key
            for name, wanted in ((DESTINATIONS, table.destinations), (STRICT, table.strict))
            if self._missing[name]
            for key in wanted
            if encode_destination_key(key) in self._missing[name]
        ]
        return [*found, *table.strict] if self._why_not_strict() else found

    def captured_cgroup_ids(self) -> list[int]:
        """The pods that the maps hold."""
        return [int.from_bytes(key, sys.byteorder) for key in (self._have or {}).get(PODS, {})]

    def proxy_listeners(self) -> int:
        """Number of proxy sockets in LISTEN, as the kernel counts them."""
        return self._maps.proxy_listeners()

    def map_statuses(self) -> list[MapStatus]:
        """How full each map is."""
        return [
            MapStatus(name, len(entries), self._maps.max_entries(name))
            for name, entries in (self._have or {}).items()
            if name != CONFIG
        ]

    def verdicts(self) -> dict[str, VerdictCount]:
        """How often each decision was reached, read from the kernel now."""
        return {
            verdict.name.lower(): VerdictCount(tally.count, tally.bytes)
            for verdict, tally in self._maps.tallies().items()
        }

    async def _write(self, changes: list[Change]) -> list[MapFull]:
        return await self._in_thread(partial(self._maps.apply, changes))

    def _read_back(
        self, name: str, written: Iterable[Change], wanted: Mapping[bytes, bytes]
    ) -> frozenset[bytes]:
        """Which wanted keys the map does not show, of those that were written just now."""
        keys = {change.key for change in written if change.map_name == name}
        puts = [Put(name, key, wanted[key]) for key in keys | self._missing[name] if key in wanted]
        missing = frozenset(change.key for change in self._maps.unconfirmed(puts))
        if missing:
            _log.warning("entries are not in the map; the next change tries again", map=name)
            self._have = self._maps.read()
        return missing

    def _why_not_strict(self) -> str:
        state = self.report.features.get("strict", "on")
        return "" if state == "on" else state

    def _unenforced(self, table: RedirectTable) -> list[Finding]:
        reason = self._why_not_strict()
        if not reason or not (table.strict or table.strict_pods):
            return []
        return [
            Finding(
                STRICT_NOT_ENFORCED.id,
                f"Node {self._options.node}",
                "",
                f"its pods take plain text whatever policies say: {reason}",
                "run these pods on nodes with a kernel that can refuse it",
            )
        ]

    def _attach(self, config: RedirectConfig, *, capture: bool) -> None:
        """Attach everything, or with ``capture`` False all but the hooks that capture."""
        programs, maps = Path(self.report.programs_path), Path(self.report.maps_path)
        if (programs / "cv_sk_msg").exists():
            attach_sk_msg(programs, maps)
        wanted = tuple(
            hook
            for hook in hooks(
                self._options.pods_cgroup, self._options.proxy_cgroup, self._options.cgroup_root
            )
            if (programs / hook.program).exists()
        )
        links = self._options.bpf_root / "links"
        if not capture:
            attach(programs, links, tuple(hook for hook in wanted if not hook.captures))
            self._maps.set_proxy_listeners(read_proxy_listeners(config))
            return
        attach(programs, links, wanted)
        detach_others(links, wanted)
        _log.info("programs attached", hooks=[hook.name for hook in wanted])

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
