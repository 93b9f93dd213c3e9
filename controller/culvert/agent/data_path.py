"""The programs and maps of this node, brought to what the compiler wants of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import structlog

from culvert.agent.options import AgentOptions, pod_levels
from culvert.compile.redirect import compile_redirect_config
from culvert.model.codes import MAP_FULL
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
    MapContents,
    TableEncoder,
    encode_destination_key,
)
from culvert.redirect.kernel import KernelMaps, MapFull
from culvert.redirect.listening import read_proxy_listeners
from culvert.redirect.plan import Change, Put, diff, phases
from culvert.redirect.report import Acceleration, LoadReport
from culvert.status.document import MapStatus, VerdictCount

_log = structlog.get_logger(__name__)

_LISTENER_CHECK_SECONDS = 1.0

_T = TypeVar("_T")


def full_map_findings(full: Iterable[MapFull]) -> list[Finding]:
    """One finding for each map that had no room."""
    return [
        Finding(
            code=MAP_FULL.id,
            subject=f"map {one.map_name}",
            field="",
            message=f"{one.refused} entries do not fit into {one.max_entries}; "
            "what they stand for is not captured or not accelerated",
            remedy="split the node's load, or raise the map's capacity",
        )
        for one in full
    ]


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
        # What the maps hold: read once, for they may be a predecessor's, then kept in step.
        self._have: MapContents | None = None
        # Destinations, as keys of their map, that it did not show when it was read back.
        self._missing: frozenset[bytes] = frozenset()

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
        self.findings = full_map_findings(full)
        written = (*plan.before_proxy, *plan.after_proxy)
        self._missing = await self._in_thread(partial(self._read_back, written, want))
        await self._in_thread(partial(self.early.follow, plan.before_proxy, self._maps.take_early))
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

    def missing(self, wanted: Iterable[DestinationKey]) -> Collection[DestinationKey]:
        """Those of the wanted destinations that the map did not show when it was read back."""
        if not self._missing:
            return ()
        return [key for key in wanted if encode_destination_key(key) in self._missing]

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

    def _read_back(self, written: Iterable[Change], want: MapContents) -> frozenset[bytes]:
        """Which wanted destinations the map does not show, of those that were written just now."""
        wanted = want[DESTINATIONS]
        keys = {change.key for change in written if change.map_name == DESTINATIONS}
        puts = [
            Put(DESTINATIONS, key, wanted[key]) for key in keys | self._missing if key in wanted
        ]
        missing = frozenset(change.key for change in self._maps.unconfirmed(puts))
        if missing:
            _log.warning("destinations are not in the map; the next change tries again")
            self._have = self._maps.read()
        return missing

    def _attach(self, config: RedirectConfig, *, capture: bool) -> None:
        """Attach everything, or with ``capture`` False all but the hooks that capture."""
        programs, maps = Path(self.report.programs_path), Path(self.report.maps_path)
        if (programs / "cv_sk_msg").exists():
            attach_sk_msg(programs, maps)
        wanted = tuple(
            hook
            for hook in hooks(self._options.pods_cgroup, self._options.proxy_cgroup)
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
