"""Leads when elected, for as long as the Lease can be kept.

``kubernetes.aio.leaderelection`` is not used: it measures by the wall clock, leads on while a
renewal hangs, and leaves the lease held when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import structlog

from culvert.control.lease import (
    GIVE_UP_SECONDS,
    RETRY_SECONDS,
    Action,
    Lease,
    Observation,
    claimed,
    decide,
    lease_patch,
    new_lease,
    observe,
    released,
)
from culvert.kube.client import KubeClient
from culvert.kube.connection import words_of
from culvert.kube.envelope import Metadata
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.kube.timestamps import now_rfc3339_micro

_log = structlog.get_logger(__name__)


class LeadershipLostError(Exception):
    """The lease could not be kept; another may lead."""


class _LeaseObject(msgspec.Struct):
    metadata: Metadata
    spec: Lease = Lease()


_DECODER = msgspec.json.Decoder(_LeaseObject)
_FAILURES = (ApiError, ApiUnreachable, AccessError, TimeoutError, msgspec.MsgspecError)


class Election:
    """One candidate. ``identity`` differs from that of every other, and of its own predecessor."""

    def __init__(self, api: KubeClient, *, namespace: str, name: str, identity: str) -> None:
        self._api = api
        self._namespace, self._name, self._identity = namespace, name, identity
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._seen: Observation | None = None
        self._resource_version = ""
        self._renewed_seconds = 0.0
        self._told = False
        self.leads = False
        """Whether this one leads now."""

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait until elected, then do the work; released when that ends, or is cancelled.

        Raises:
            LeadershipLostError: the lease could not be renewed; the work has been cancelled.
        """
        while not await self._try():  # noqa: ASYNC110
            await asyncio.sleep(RETRY_SECONDS)
        _log.info("leading", lease=f"{self._namespace}/{self._name}", identity=self._identity)
        self.leads = True
        working = asyncio.ensure_future(work())
        renewing = asyncio.create_task(self._keep())
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.leads = False
            # Nothing is written in the leader's name any more when the lease is given away.
            for task in (working, renewing):
                task.cancel()
            await asyncio.gather(working, renewing, return_exceptions=True)
            await self._release()
        for task in (working, renewing):
            if not task.cancelled():
                task.result()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            left_seconds = self._renewed_seconds + GIVE_UP_SECONDS - _now()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, left_seconds)):
                    if not await self._try() and self._is_anothers():
                        raise LeadershipLostError("another has taken the lease")
            if _now() - self._renewed_seconds >= GIVE_UP_SECONDS:
                raise LeadershipLostError(f"the lease was not renewed for {GIVE_UP_SECONDS:.0f} s")

    def _is_anothers(self) -> bool:
        holder = self._seen.lease.holder_identity if self._seen is not None else None
        return bool(holder) and holder != self._identity

    async def _try(self) -> bool:
        """Acquire or renew if that may be done; whether this one holds the lease now."""
        started_seconds = _now()
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                lease = await self._read()
                self._seen = observe(self._seen, lease, _now())
                if decide(self._seen, self._identity, _now()) is Action.WAIT:
                    self._told = False
                    return False
                await self._write(claimed(lease, self._identity, now_rfc3339_micro()))
        except _FAILURES as error:
            self._tell(error)
            return False
        self._told = False
        self._renewed_seconds = started_seconds
        return True

    def _tell(self, error: Exception) -> None:
        """Warn of the first failure in a row; that another was faster (409) is none."""
        is_expected = isinstance(error, ApiError) and error.status == 409
        log = _log.debug if is_expected or self._told else _log.warning
        log(
            "lease not written; trying again",
            lease=f"{self._namespace}/{self._name}",
            error=words_of(error),
            remedy=_remedy(error),
        )
        self._told = self._told or not is_expected

    async def _release(self) -> None:
        seen = self._seen
        if seen is None or seen.lease.holder_identity != self._identity:
            return
        with suppress(*_FAILURES):
            async with asyncio.timeout(RETRY_SECONDS):
                await self._write(released(seen.lease, now_rfc3339_micro()))

    async def _read(self) -> Lease:
        try:
            body = await self._api.get(f"{self._collection}/{self._name}")
        except ApiError as error:
            if error.status != 404:
                raise
            self._resource_version = ""
            return Lease()
        read = _DECODER.decode(body)
        self._resource_version = read.metadata.resource_version
        return read.spec

    async def _write(self, lease: Lease) -> None:
        if self._resource_version:
            # A patch, for labels and annotations are not the controller's.
            patch = lease_patch(self._resource_version, lease)
            answer = await self._api.merge_patch(f"{self._collection}/{self._name}", patch)
        else:
            body = new_lease(self._namespace, self._name, lease)
            answer = await self._api.create(self._collection, body)
        self._resource_version = _DECODER.decode(answer).metadata.resource_version
        self._seen = Observation(lease, _now())


def _remedy(error: Exception) -> str:
    if isinstance(error, ApiError) and error.status == 403:
        return "let the controller's service account get, patch and create this Lease"
    return "see whether the API server answers here; statuses are not written meanwhile"


def _now() -> float:
    return asyncio.get_running_loop().time()
