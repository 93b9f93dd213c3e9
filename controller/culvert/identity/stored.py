"""The mesh's own authority, its keys in a store: made once, and passed from leader to leader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
import structlog

from culvert.identity.authority import (
    Authority,
    Lifetimes,
    Signer,
    read_signers,
    write_signers,
)
from culvert.identity.store import Store, write
from culvert.identity.trusted_roots import FILE as TRUSTED_ROOTS
from culvert.identity.trusted_roots import read_roots, trusted, write_roots
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.model.refusal import RefusedError
from culvert.model.stored_files import StoredFiles

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 30.0
_RETRY_SECONDS = 1.0
ROOTS_SINCE = "culvert.dev/roots-since"
"""Annotation of the store: a time of RFC 3339; a root that was made before is to be replaced."""

_RESTORE = (
    "nothing is written over it: restore it, or delete it; the root in use is then written again, "
    "or a new one is made where none is in use"
)
FAILURES = (ApiError, ApiUnreachable, AccessError, msgspec.MsgspecError, ValueError)


def _now() -> datetime:
    return datetime.now(UTC)


class StoredAuthority:
    """Nothing is signed with a key that the store does not have."""

    def __init__(
        self,
        store: Store,
        trust_domain: Callable[[], str | None],
        lifetimes: Lifetimes,
        *,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """``trust_domain`` gives what is in force, None while that is not known."""
        self._store = store
        self._trust_domain = trust_domain
        self._lifetimes = lifetimes
        self._clock = clock
        self._authority: Authority | None = None
        self._problem = "its keys have not been read yet"

    def advance(self) -> Authority:
        """The authority of this moment.

        Raises:
            RefusedError: there is none yet; says why.
        """
        if self._authority is None:
            raise RefusedError(
                503, "Unavailable", f"the certificate authority is not ready: {self._problem}"
            )
        return self._authority

    async def run(self) -> None:
        """Keep it ready. Ends only by cancellation."""
        while True:
            is_well = await self.look()
            await asyncio.sleep(LOOK_SECONDS if is_well else _RETRY_SECONDS)

    async def look(self) -> bool:
        """Read the store, and write to it what is due; whether all is as it should be."""
        try:
            return await self._look()
        except FAILURES as error:
            problem = f"{self._store.name}: {error}"
            if problem != self._problem:
                remedy = remedy_of(error, _RESTORE)
                _log.error("certificate authority not kept", reason=problem, remedy=remedy)
            self._problem = problem
            return False

    async def _look(self) -> bool:
        trust_domain = self._trust_domain()
        if trust_domain is None:
            self._problem = "the trust domain is not known yet"
            return False
        stored = await self._store.read()
        now, lifetimes = self._clock(), self._lifetimes
        before = read_roots(stored.files) if stored is not None else ()
        longest = max(lifetimes.certificate, lifetimes.longest_certificate)
        others = trusted(before, (), now, longest + lifetimes.spread)
        also_trusted = tuple(one.certificate for one in others)
        signers = self._signers(stored)
        authority = Authority(trust_domain, lifetimes, signers, also_trusted)
        authority = authority.advanced(now, roots_since(stored))
        files = write_signers(authority.signers) | (write_roots(others) if others else {})
        if stored is None or stored.files != files:
            if not await write(self._store, files, stored):
                return False
            _log.info(
                "certificate authority written",
                store=self._store.name,
                roots=[f"{one.root.serial_number:x}" for one in authority.signers],
            )
        if self._problem:
            _log.info("certificate authority ready", store=self._store.name)
        self._authority, self._problem = authority, ""
        return True

    def _signers(self, stored: StoredFiles | None) -> tuple[Signer, ...]:
        if stored is not None and stored.files.keys() - {TRUSTED_ROOTS}:
            return read_signers(stored.files)
        # Somebody has deleted it: what is in use is written again.
        return self._authority.signers if self._authority is not None else ()


def remedy_of(error: Exception, of_content: str) -> str:
    """What to do about a store that cannot be used; ``of_content`` where it is what it holds."""
    if isinstance(error, ApiError) and error.status == 403:
        return "let the controller's service account get, create and patch this Secret"
    if isinstance(error, ApiError | ApiUnreachable | AccessError):
        return "see whether the API server answers here; no certificate is issued meanwhile"
    return of_content


def roots_since(stored: StoredFiles | None) -> datetime | None:
    """What the annotation asks for; None where it is absent or no time."""
    text = stored.annotations.get(ROOTS_SINCE) if stored is not None else None
    if not text:
        return None
    with suppress(ValueError):
        since = datetime.fromisoformat(text)
        if since.tzinfo is not None:
            return since
    _log.warning("annotation is not a time of RFC 3339", annotation=ROOTS_SINCE, value=text[:100])
    return None
