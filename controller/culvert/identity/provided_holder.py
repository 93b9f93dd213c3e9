"""An authority that an operator provides, and may exchange for another at any time.

Its roots are remembered in a store, so that an exchange breaks nothing: the old ones are handed out
until the last certificate below them has ended, and the new authority signs when every node has had
the time to fetch its root. A leader that has only just begun cannot wait: it does not have the old
authority's key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from culvert.identity import x509 as svid
from culvert.identity.authority import Lifetimes, read_signers
from culvert.identity.provided import ProvidedAuthority, ProvidedError, read_provided
from culvert.identity.store import Source, Store, write
from culvert.identity.stored import FAILURES, LOOK_SECONDS, remedy_of
from culvert.identity.trusted_roots import FILE, TrustedRoot, read_roots, trusted, write_roots
from culvert.model.refusal import RefusedError
from culvert.model.stored_files import StoredFiles

_log = structlog.get_logger(__name__)

_RETRY_SECONDS = 1.0


def _now() -> datetime:
    return datetime.now(UTC)


class ProvidedHolder:
    """``source`` is the operator's, and only read; ``record`` is for the roots."""

    def __init__(
        self,
        source: Source,
        record: Store,
        trust_domain: Callable[[], str | None],
        lifetimes: Lifetimes,
        *,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """``trust_domain`` gives what is in force, None while that is not known."""
        self._source = source
        self._record = record
        self._trust_domain = trust_domain
        self._lifetimes = lifetimes
        self._clock = clock
        self._authority: ProvidedAuthority | None = None
        self._problem = "it has not been read yet"

    def advance(self) -> ProvidedAuthority:
        """The authority of this moment.

        Raises:
            RefusedError: there is none; says why.
        """
        if self._authority is None:
            raise RefusedError(
                503, "Unavailable", f"the certificate authority is not ready: {self._problem}"
            )
        if self._authority.ends <= self._clock():
            raise RefusedError(
                503, "Unavailable", "the certificate authority that was provided has ended"
            )
        return self._authority

    async def run(self) -> None:
        """Keep it ready. Ends only by cancellation."""
        while True:
            is_well = await self.look()
            await asyncio.sleep(LOOK_SECONDS if is_well else _RETRY_SECONDS)

    async def look(self) -> bool:
        """Read what is provided now, and remember its roots; whether all is as it should be."""
        try:
            return await self._look()
        except FAILURES as error:
            problem = f"{self._source.name}: {error}"
            if problem != self._problem:
                remedy = remedy_of(
                    error, "the one that was read before stays in use while it holds"
                )
                _log.error("provided authority not used", reason=problem, remedy=remedy)
            self._problem = problem
            return False

    async def _look(self) -> bool:
        trust_domain = self._trust_domain()
        if trust_domain is None:
            self._problem = "the trust domain is not known yet"
            return False
        stored = await self._source.read()
        if stored is None:
            raise ProvidedError("it", "does not exist", "make it, or let the mesh have its own")
        now = self._clock()
        life = self._lifetimes.certificate
        provided = read_provided(stored.files, trust_domain, life, now)
        roots = await self._remember(provided, now)
        if roots is None:
            return False
        authority = self._that_signs(provided, roots, now)
        if self._problem:
            _log.info("provided authority in use", source=self._source.name)
        self._authority = replace(authority, roots=tuple(one.certificate for one in roots))
        self._problem = ""
        return True

    async def _remember(
        self, provided: ProvidedAuthority, now: datetime
    ) -> tuple[TrustedRoot, ...] | None:
        """The roots to hand out; None where another has written them meanwhile."""
        stored = await self._record.read()
        try:
            before = _roots_of(stored)
        except ValueError as error:
            raise ValueError(f"{self._record.name}: {error}") from None
        lifetimes = self._lifetimes
        longest = max(lifetimes.certificate, lifetimes.longest_certificate)
        roots = trusted(before, provided.roots, now, longest + lifetimes.spread)
        if roots != before or (stored is not None and stored.files.keys() != {FILE}):
            if not await write(self._record, write_roots(roots), stored):
                return None
            serials = [f"{one.certificate.serial_number:x}" for one in roots]
            _log.info("roots remembered", store=self._record.name, roots=serials)
        return roots

    def _that_signs(
        self, provided: ProvidedAuthority, roots: tuple[TrustedRoot, ...], now: datetime
    ) -> ProvidedAuthority:
        """What is provided; the one before it while nodes may lack the new root."""
        known = self._authority
        root = next(one for one in roots if one.certificate == provided.issuer.root)
        is_spread = now >= root.since + self._lifetimes.spread or root == roots[0]
        if is_spread or known is None or known.trust_domain != provided.trust_domain:
            return provided
        return known if known.ends > now + self._lifetimes.spread else provided


def _roots_of(stored: StoredFiles | None) -> tuple[TrustedRoot, ...]:
    """The roots that are remembered, and those of the mesh's own authority, where it had one."""
    if stored is None:
        return ()
    known = read_roots(stored.files)
    if not stored.files.keys() - {FILE}:
        return known
    certificates = {one.certificate for one in known}
    own = [one.root for one in read_signers(stored.files) if one.root not in certificates]
    return (*known, *(TrustedRoot(one, svid.made(one)) for one in own))
