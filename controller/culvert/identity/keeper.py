"""Keeps the certificates of this node's identities: made here, renewed in time, forgotten.

Keys are made in this process for each certificate anew and are in its memory alone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import structlog

from culvert.identity import rotation
from culvert.identity.certificate import (
    Certificate,
    leads_to_a_root,
    read_bundle,
    read_certificate,
)
from culvert.identity.client import Issuer, IssuerError
from culvert.identity.findings import Failure, finding_of
from culvert.identity.x509 import make_request, new_key
from culvert.model.finding import Finding
from culvert.model.identity import Identity

_log = structlog.get_logger(__name__)

MAX_BUNDLE_AGE_SECONDS = 300.0
MAX_CLOCK_DIFFERENCE_SECONDS = 30.0
"""Certificates begin to hold a minute before they are made."""
COALESCE_SECONDS = 0.02
"""Certificates that come together are told of once."""
_CONCURRENT = 8
_LIFE_UNKNOWN_SECONDS = 600.0


@dataclass(slots=True)
class _Kept:
    """One identity. ``due_seconds`` is when something is next done about it."""

    since_seconds: float
    due_seconds: float = 0.0
    failures: int = 0
    failure: Failure | None = None
    certificate: Certificate | None = None
    task: asyncio.Task[None] | None = None


class CertificateKeeper:
    """``on_change`` is called after ``certificates``, ``awaited`` or ``bundle_pem`` changed."""

    def __init__(
        self,
        issuer: Issuer,
        on_change: Callable[[], None],
        *,
        unix_seconds: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._issuer = issuer
        self._on_change = on_change
        self._unix_seconds = unix_seconds
        self._jitter = jitter
        self._sleep = sleep
        self._kept: dict[Identity, _Kept] = {}
        self._bundle_due_seconds = 0.0
        self._bundle_failures = 0
        self._bundle_task: asyncio.Task[None] | None = None
        self._clock_told = False
        self._woken = asyncio.Event()
        self._to_tell: asyncio.TimerHandle | None = None
        self._told: set[str] = set()
        self.bundle_pem = b""
        self.issued_total = 0
        self.failures_total: Counter[str] = Counter()
        """By reason; both totals are since the process began."""

    @property
    def certificates(self) -> Mapping[Identity, Certificate]:
        """Those that there are."""
        return MappingProxyType(
            {
                identity: kept.certificate
                for identity, kept in self._kept.items()
                if kept.certificate is not None
            }
        )

    @property
    def awaited(self) -> frozenset[Identity]:
        """Wanted identities that have no certificate yet."""
        return frozenset(one for one, kept in self._kept.items() if kept.certificate is None)

    def want(self, identities: Iterable[Identity]) -> None:
        """Keep certificates of these identities, and of no others."""
        wanted = set(identities)
        gone = self._kept.keys() - wanted
        for identity in gone:
            kept = self._kept.pop(identity)
            if kept.task is not None:
                kept.task.cancel()
        new = wanted - self._kept.keys()
        for identity in new:
            self._kept[identity] = _Kept(self._unix_seconds())
        if new:
            self._woken.set()
        if new or gone:
            self._on_change()

    async def run(self) -> None:
        """Issue and renew. Ends only by cancellation."""
        limit = asyncio.Semaphore(_CONCURRENT)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._woken.clear()
                    self._begin_what_is_due(tasks, limit)
                    await self._wait(self._next_seconds() - self._unix_seconds())
        finally:
            if self._to_tell is not None:
                self._to_tell.cancel()

    def findings(self) -> list[Finding]:
        """What is wrong with certificates now."""
        now_seconds = self._unix_seconds()
        found = (
            finding_of(identity, kept.certificate, kept.failure, kept.since_seconds, now_seconds)
            for identity, kept in sorted(self._kept.items())
        )
        return [one for one in found if one is not None]

    def seconds_to_nearest_end(self) -> float | None:
        """Until the first certificate ends; None where there are none."""
        ends = [one.ends_seconds for one in self.certificates.values()]
        return min(ends) - self._unix_seconds() if ends else None

    def _begin_what_is_due(self, tasks: asyncio.TaskGroup, limit: asyncio.Semaphore) -> None:
        now_seconds = self._unix_seconds()
        for identity, kept in self._kept.items():
            if kept.due_seconds <= now_seconds and kept.task is None:
                kept.task = tasks.create_task(self._renew(identity, kept, limit))
        if self._bundle_due_seconds <= now_seconds and self._bundle_task is None:
            self._bundle_task = tasks.create_task(self._refresh_bundle())

    async def _wait(self, seconds: float) -> None:
        waiting = asyncio.ensure_future(self._woken.wait())
        sleeping = asyncio.ensure_future(self._sleep(max(0.05, seconds)))
        try:
            await asyncio.wait((waiting, sleeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            sleeping.cancel()

    def _next_seconds(self) -> float:
        due = [kept.due_seconds for kept in self._kept.values() if kept.task is None]
        if self._bundle_task is None:
            due.append(self._bundle_due_seconds)
        return min(due, default=self._unix_seconds() + MAX_BUNDLE_AGE_SECONDS)

    async def _renew(self, identity: Identity, kept: _Kept, limit: asyncio.Semaphore) -> None:
        key = new_key()
        try:
            async with limit:
                answer = await self._issuer.issue(identity, make_request(key))
            try:
                certificate = read_certificate(identity, key, answer)
                bundle_pem = read_bundle(answer.bundle)
            except ValueError as error:
                raise IssuerError("Unusable", f"what was issued cannot be used: {error}") from None
        except IssuerError as error:
            self._note_failure(identity, kept, error)
        else:
            self._take(identity, kept, certificate)
            self._take_bundle(bundle_pem)
        finally:
            kept.task = None
            self._woken.set()

    def _take(self, identity: Identity, kept: _Kept, certificate: Certificate) -> None:
        kept.certificate, kept.failure, kept.failures = certificate, None, 0
        kept.due_seconds = rotation.renewal_seconds(
            certificate.begins_seconds, certificate.ends_seconds, self._jitter()
        )
        self.issued_total += 1
        if self._told:
            self._told.clear()
            _log.info("certificates are issued again")
        _log.debug(
            "certificate kept", identity=identity.spiffe_id, serial=f"{certificate.serial:x}"
        )
        self._changed()

    def _note_failure(self, identity: Identity, kept: _Kept, error: IssuerError) -> None:
        kept.failures += 1
        kept.failure = Failure(error.reason, str(error))
        self.failures_total[error.reason] += 1
        if str(error) not in self._told:
            self._told.add(str(error))
            _log.warning(
                "no certificate; trying again", identity=identity.spiffe_id, reason=str(error)
            )
        certificate = kept.certificate
        life = certificate.life_seconds if certificate is not None else _LIFE_UNKNOWN_SECONDS
        kept.due_seconds = self._unix_seconds() + rotation.retry_seconds(
            kept.failures, life, self._jitter()
        )

    async def _refresh_bundle(self) -> None:
        try:
            answer = await self._issuer.bundle()
            try:
                bundle_pem = read_bundle(answer.bundle)
            except ValueError as error:
                raise IssuerError("Unusable", str(error)) from None
        except IssuerError as error:
            self._bundle_failures += 1
            if self._bundle_failures == 1:
                _log.warning("roots not fetched; trying again", reason=str(error))
            self._bundle_due_seconds = self._unix_seconds() + rotation.retry_seconds(
                self._bundle_failures, MAX_BUNDLE_AGE_SECONDS, self._jitter()
            )
        else:
            self._take_bundle(bundle_pem)
            self._compare_clocks(answer.now_seconds)
        finally:
            self._bundle_task = None
            self._woken.set()

    def _take_bundle(self, bundle_pem: bytes) -> None:
        lives = [one.life_seconds for one in self.certificates.values()]
        age = min([MAX_BUNDLE_AGE_SECONDS, *(life / 6 for life in lives)])
        self._bundle_failures = 0
        self._bundle_due_seconds = self._unix_seconds() + age * (0.5 + 0.5 * self._jitter())
        if bundle_pem != self.bundle_pem:
            self.bundle_pem = bundle_pem
            self._replace_what_is_not_trusted()
            self._changed()

    def _replace_what_is_not_trusted(self) -> None:
        """Make due what rests on a root that is gone: an authority began anew without its keys."""
        for kept in self._kept.values():
            certificate = kept.certificate
            if certificate is not None and not leads_to_a_root(certificate, self.bundle_pem):
                # Not at once: authorities that disagree must not be asked in turn without a pause.
                soon = rotation.retry_seconds(1, certificate.life_seconds, self._jitter())
                kept.due_seconds = min(kept.due_seconds, self._unix_seconds() + soon)

    def _compare_clocks(self, issuer_unix_seconds: float) -> None:
        ahead = self._unix_seconds() - issuer_unix_seconds
        is_off = abs(ahead) > MAX_CLOCK_DIFFERENCE_SECONDS
        if is_off and not self._clock_told:
            _log.warning(
                "the clocks of this node and of the certificate authority differ",
                ahead_seconds=round(ahead),
                remedy="have both follow the same time; certificates hold from and to a moment",
            )
        self._clock_told = is_off

    def _changed(self) -> None:
        if self._to_tell is None:
            loop = asyncio.get_running_loop()
            self._to_tell = loop.call_later(COALESCE_SECONDS, self._tell)

    def _tell(self) -> None:
        self._to_tell = None
        self._on_change()
