"""The connections to this node's pods, and the end of those that policies no longer allow."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable

import structlog

from culvert.compile.authorization.live import PoliciesByAddress, Remark, refused, remarks
from culvert.compile.live_log import REFRESH_SECONDS
from culvert.model.live import LiveConnection, Moment
from culvert.netlink.socket_destroy import Socket, destroy_sockets

_log = structlog.get_logger(__name__)

_FORGET_SECONDS = 4 * REFRESH_SECONDS
"""A connection that nobody spoke of for so long has ended, and its end was not heard of."""

_REMARKS = {
    Remark.AUDITED: "a connection that an AUDIT policy matches",
    Remark.WOULD_DENY: "a connection that a policy in dry run would refuse",
}


class LiveConnections:
    """Follows connections by what the proxy says of them. ``destroy`` ends sockets."""

    def __init__(
        self,
        destroy: Callable[[Iterable[Socket]], int] = destroy_sockets,
        monotonic_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._destroy = destroy
        self._monotonic_seconds = monotonic_seconds
        self._policies: PoliciesByAddress = {}
        self._live: dict[Socket, tuple[LiveConnection, float]] = {}
        self._doubtful: list[LiveConnection] = []
        self._woken = asyncio.Event()
        self.cut_total = 0
        self.remarks_total: Counter[tuple[Remark, str]] = Counter()
        """By the policy's namespace and name; empty where it is that no ALLOW policy matches."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._live)

    def told(self, connection: LiveConnection, moment: Moment) -> None:
        """Take the proxy's word on a connection."""
        if moment is Moment.BEGINS:
            self._remark(connection)
        if moment is Moment.ENDS:
            self._live.pop(connection.socket, None)
            return
        self._live[connection.socket] = connection, self._monotonic_seconds()
        if connection.pod_address in self._policies:
            # It may have been let in by what was in force a moment ago.
            self._doubtful.append(connection)
            self._woken.set()

    def take_policies(self, policies: PoliciesByAddress) -> None:
        """Judge all connections by these policies, which the proxy has by now."""
        if policies == self._policies:
            return
        self._policies = policies
        self._doubtful = [connection for connection, _ in self._live.values()]
        self._woken.set()

    def _remark(self, connection: LiveConnection) -> None:
        for remark, policy in remarks(connection, self._policies):
            name = str(policy) if policy is not None else ""
            self.remarks_total[remark, name] += 1
            _log.info(
                _REMARKS[remark],
                policy=name or "no ALLOW policy matches",
                principal=connection.principal,
                client=connection.source_address,
                destination=f"{connection.pod_address} port {connection.pod_port_host}",
            )

    async def run(self) -> None:
        """Cut what is refused. Ends only by cancellation."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            doubtful, self._doubtful = self._doubtful, []
            cut = refused(doubtful, self._policies)
            if cut:
                await asyncio.to_thread(self._cut, cut)
            self._forget()

    def _cut(self, connections: list[LiveConnection]) -> None:
        try:
            ended = self._destroy([one.socket for one in connections])
        except OSError as error:
            _log.error(
                "connections that policies refuse cannot be ended; they last until their clients "
                "or servers close them",
                count=len(connections),
                reason=str(error),
            )
            return
        self.cut_total += ended
        for one in connections:
            self._live.pop(one.socket, None)
        _log.info(
            "connections ended that policies no longer allow",
            count=ended,
            example=f"{connections[0].principal} to "
            f"{connections[0].pod_address} port {connections[0].pod_port_host}",
        )

    def _forget(self) -> None:
        oldest = self._monotonic_seconds() - _FORGET_SECONDS
        for key in [key for key, (_, seen) in self._live.items() if seen < oldest]:
            del self._live[key]
