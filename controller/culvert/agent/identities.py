"""The identities of this node: their numbers for the kernel, their certificates for the proxy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec
import structlog

from culvert.agent.identity_numbers import IdentityNumbers, NumbersExhaustedError
from culvert.agent.live_connections import LiveConnections
from culvert.compile.secrets import compile_secrets
from culvert.compile.targets import local_identities
from culvert.identity.client import Issuer
from culvert.identity.keeper import CertificateKeeper
from culvert.model.desired import Resource
from culvert.model.finding import Finding
from culvert.model.world import World
from culvert.status.document import CertificateStatus, IdentityStatus, RemarkStatus

_log = structlog.get_logger(__name__)


class NodeIdentities:
    """``on_change`` is called when ``secrets`` are others."""

    def __init__(self, issuer: Issuer, on_change: Callable[[], None]) -> None:
        self._keeper = CertificateKeeper(issuer, self._changed)
        self._on_change = on_change
        self._numbers: IdentityNumbers | None = None
        self._assigned: Mapping[str, int] = {}
        self._secrets: Mapping[str, Resource] | None = None

    def open(self, state_directory: Path, in_maps: Collection[int]) -> None:
        """Read which numbers are given out; ``in_maps`` are those that the kernel knows."""
        self._numbers = IdentityNumbers(state_directory, in_maps)

    async def run(self) -> None:
        """Keep the certificates, until cancelled."""
        await self._keeper.run()

    def number(self, world: World, node_name: str) -> World:
        """The world with the numbers of this node's identities, whose certificates are then kept.

        ``world`` has the settings in force.

        Raises:
            OSError: the numbers cannot be written down.
        """
        assert self._numbers is not None
        identities = local_identities(world, node_name)
        self._keeper.want(identities)
        try:
            self._assigned = self._numbers.assign(one.spiffe_id for one in identities)
        except NumbersExhaustedError as error:
            _log.error("new identities are refused", reason=str(error))
        return msgspec.structs.replace(world, identity_numbers=self._assigned)

    def secrets(self) -> Mapping[str, Resource]:
        """What the proxy may fetch."""
        if self._secrets is None:
            keeper = self._keeper
            self._secrets = compile_secrets(
                {
                    identity.spiffe_id: (one.chain_pem, one.key_pem)
                    for identity, one in keeper.certificates.items()
                },
                {identity.spiffe_id for identity in keeper.awaited},
                keeper.bundle_pem,
            )
        return self._secrets

    def status(self, trust_domain: str, live: LiveConnections) -> IdentityStatus:
        """What is so now."""
        keeper = self._keeper
        held = [
            CertificateStatus(identity.spiffe_id, one.begins_seconds, one.ends_seconds)
            for identity, one in sorted(keeper.certificates.items())
        ]
        awaited = [CertificateStatus(one.spiffe_id) for one in sorted(keeper.awaited)]
        return IdentityStatus(
            trust_domain=trust_domain,
            certificates=held + awaited,
            issued_total=keeper.issued_total,
            failures_total=dict(keeper.failures_total),
            live_connections=live.count,
            cut_total=live.cut_total,
            remarks=[
                RemarkStatus(str(remark), policy, count)
                for (remark, policy), count in sorted(live.remarks_total.items())
            ],
        )

    def findings(self) -> list[Finding]:
        """What is wrong with certificates."""
        return self._keeper.findings()

    def _changed(self) -> None:
        self._secrets = None
        self._on_change()
