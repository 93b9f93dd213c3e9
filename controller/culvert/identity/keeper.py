"""Keeps the certificates of this node's identities: made here, renewed in time, forgotten.

Keys are made in this process for each certificate anew and are in its memory alone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from culvert.identity import rotation
from culvert.identity.client import Issuer, IssuerError
from culvert.identity.rotation import Urgency
from culvert.identity.wire import CertificateAnswer
from culvert.identity.x509 import key_pem, make_request, new_key
from culvert.model.codes import CERTIFICATE_MISSING, CERTIFICATE_NOT_RENEWED
from culvert.model.finding import Finding, Severity
from culvert.model.identity import Identity

_log = structlog.get_logger(__name__)

MAX_BUNDLE_AGE_SECONDS = 300.0
_CONCURRENT = 8


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key: PEM, the leaf first. Times are UNIX seconds."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    begins_seconds: float
    ends_seconds: float


@dataclass(slots=True)
class _Kept:
    """One identity. ``due_seconds`` is when something is next done about it."""

    due_seconds: float = 0.0
    failures: int = 0
    error: str = ""
    certificate: Certificate | None = None
    task: asyncio.Task[None] | None = None


class CertificateKeeper:
    """``on_change`` is called after ``certificates`` or ``bundle_pem`` became others."""

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
        self._woken = asyncio.Event()
        self.bundle_pem = b""
        self.issued_total = 0
        self.failures_total: dict[str, int] = {}

    @property
    def certificates(self) -> Mapping[Identity, Certificate]:
        """Those that there are."""
        return {
            identity: kept.certificate
            for identity, kept in self._kept.items()
            if kept.certificate is not None
        }

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
            self._kept[identity] = _Kept()
        if new:
            self._woken.set()
        if new or gone:
            self._on_change()

    async def run(self) -> None:
        """Issue and renew. Ends only by cancellation."""
        limit = asyncio.Semaphore(_CONCURRENT)
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._woken.clear()
                now_seconds = self._unix_seconds()
                for identity, kept in self._kept.items():
                    if kept.due_seconds <= now_seconds and kept.task is None:
                        kept.task = tasks.create_task(self._renew(identity, kept, limit))
                if self._bundle_due_seconds <= now_seconds:
                    await self._refresh_bundle()
                await self._wait(self._next_seconds() - self._unix_seconds())

    def findings(self) -> list[Finding]:
        """What is wrong with certificates now."""
        now_seconds = self._unix_seconds()
        return [
            finding
            for identity, kept in sorted(self._kept.items())
            if (finding := _finding(identity, kept, now_seconds)) is not None
        ]

    def seconds_to_nearest_end(self) -> float | None:
        """Until the first certificate ends; None where there are none."""
        ends = [one.ends_seconds for one in self.certificates.values()]
        return min(ends) - self._unix_seconds() if ends else None

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
        return min([*due, self._bundle_due_seconds])

    async def _renew(self, identity: Identity, kept: _Kept, limit: asyncio.Semaphore) -> None:
        key = new_key()
        try:
            async with limit:
                answer = await self._issuer.issue(identity, make_request(key))
        except IssuerError as error:
            self._note_failure(identity, kept, error)
        else:
            self._take(identity, kept, answer, key_pem(key))
        finally:
            kept.task = None
            self._woken.set()

    def _take(self, identity: Identity, kept: _Kept, answer: CertificateAnswer, key: bytes) -> None:
        kept.certificate = Certificate(
            answer.chain.encode(), key, answer.begins_seconds, answer.ends_seconds
        )
        kept.failures, kept.error = 0, ""
        kept.due_seconds = rotation.renewal_seconds(
            answer.begins_seconds, answer.ends_seconds, self._jitter()
        )
        self.issued_total += 1
        self._take_bundle(answer.bundle)
        _log.debug("certificate kept", identity=identity.spiffe_id, ends=answer.ends_seconds)
        self._on_change()

    def _note_failure(self, identity: Identity, kept: _Kept, error: IssuerError) -> None:
        kept.failures += 1
        if kept.error != str(error):
            _log.warning("no certificate", identity=identity.spiffe_id, reason=str(error))
        kept.error = str(error)
        self.failures_total[error.reason] = self.failures_total.get(error.reason, 0) + 1
        certificate = kept.certificate
        life = certificate.ends_seconds - certificate.begins_seconds if certificate else 600.0
        kept.due_seconds = self._unix_seconds() + rotation.retry_seconds(
            kept.failures, life, self._jitter()
        )

    async def _refresh_bundle(self) -> None:
        try:
            answer = await self._issuer.bundle()
        except IssuerError as error:
            self._bundle_failures += 1
            if self._bundle_failures == 1:
                _log.warning("no roots", reason=str(error))
            self._bundle_due_seconds = self._unix_seconds() + rotation.retry_seconds(
                self._bundle_failures, MAX_BUNDLE_AGE_SECONDS, self._jitter()
            )
            return
        self._bundle_failures = 0
        self._take_bundle(answer.bundle)

    def _take_bundle(self, bundle: str) -> None:
        lives = [one.ends_seconds - one.begins_seconds for one in self.certificates.values()]
        age = min([MAX_BUNDLE_AGE_SECONDS, *(life / 6 for life in lives)])
        self._bundle_due_seconds = self._unix_seconds() + age * (0.5 + 0.5 * self._jitter())
        if bundle.encode() != self.bundle_pem:
            self.bundle_pem = bundle.encode()
            self._on_change()


def _finding(identity: Identity, kept: _Kept, now_seconds: float) -> Finding | None:
    certificate = kept.certificate
    if certificate is None:
        if not kept.failures:
            return None
        return Finding(
            CERTIFICATE_MISSING.id,
            f"identity {identity}",
            "",
            f"it has no certificate, so its connections to other nodes fail: {kept.error}",
            "see the controller's log",
        )
    level = rotation.urgency(certificate.begins_seconds, certificate.ends_seconds, now_seconds)
    if level is Urgency.FINE:
        return None
    words = {
        Urgency.OVERDUE: "its certificate should have been renewed by now",
        Urgency.ENDING: "its certificate ends soon",
        Urgency.EXPIRED: "its certificate has ended, so its connections to other nodes fail",
    }
    return Finding(
        CERTIFICATE_NOT_RENEWED.id,
        f"identity {identity}",
        "",
        f"{words[level]}: {kept.error or 'the request is under way'}",
        "see the controller's log",
        Severity.WARNING if level is Urgency.OVERDUE else Severity.ERROR,
    )
