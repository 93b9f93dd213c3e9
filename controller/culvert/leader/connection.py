"""Requests to the controller that leads: over TLS, with the token of this agent's pod.

Its address and certificate are in a ConfigMap, which is read again whenever it is not there or not
itself. A controller that publishes no address is reached by its Service, which the agent watches
anyway, so no DNS is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from culvert.kube.client import KubeClient
from culvert.kube.connection import words_of
from culvert.leader.lookup import Leader, LeaderUnknownError, read_leader
from culvert.model.leader import Address, authority
from culvert.model.report import server_name

ANSWER_SECONDS = 15.0
CONNECT_SECONDS = 5.0
"""An address that has gone with its node does not even refuse."""


@dataclass(frozen=True, slots=True)
class ControllerAccess:
    """Where the controller is: its Service, and the file with the token to show."""

    namespace: str
    service: str
    token: Path


class ControllerError(Exception):
    """The controller got no request, or gave no answer; says why."""


class NotReachedError(ControllerError):
    """There is no leader where one was: so it is while one follows another."""


class NotAnsweredError(NotReachedError):
    """The request may have arrived."""


class ControllerConnection:
    """An async context manager. ``address`` gives where the controller's Service is, if known."""

    def __init__(
        self,
        api: KubeClient,
        access: ControllerAccess,
        address: Callable[[], Address | None],
    ) -> None:
        self._api = api
        self._access = access
        self._address = address
        self._http: aiohttp.ClientSession | None = None
        self._leader: Leader | None = None
        self._may_have_changed = False

    async def __aenter__(self) -> Self:
        """Nobody is asked anything yet."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
        self._http = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what is open."""
        if self._http is not None:
            await self._http.close()

    async def request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Send JSON; return the status and the body of the answer, whatever it is.

        Raises:
            NotAnsweredError: it may have arrived, and there was no answer.
            NotReachedError: no connection came about.
            ControllerError: it is not known where to send it, or what token to show.
        """
        token = self._token()
        leader = await self._find_leader()
        address = leader.entry.address or self._address()
        if address is None:
            service = f"{self._access.namespace}/{self._access.service}"
            raise ControllerError(f"the controller's Service {service} has no cluster IP")
        try:
            return await self._send(method, path, body, address, leader, token)
        except aiohttp.ClientSSLError as error:
            # This is another's certificate.
            self._leader = None
            raise _not_reached(address, error) from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            # Not even a connection: it has ended, and the next one is elsewhere.
            self._may_have_changed = True
            raise _not_reached(address, error) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._may_have_changed = True
            raise NotAnsweredError(f"the controller did not answer: {words_of(error)}") from None

    async def _find_leader(self) -> Leader:
        known = self._leader
        if known is not None and not self._may_have_changed:
            return known
        try:
            found = await read_leader(self._api, self._access.namespace, self._access.service)
        except LeaderUnknownError as error:
            if known is None:
                raise ControllerError(str(error)) from None
            # It may be where it was: it can be reached without the API server.
            return known
        self._leader, self._may_have_changed = found, False
        return found

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        address: Address,
        leader: Leader,
        token: str,
    ) -> tuple[int, bytes]:
        assert self._http is not None, "use it as a context manager"
        headers = {"Authorization": f"Bearer {token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        async with self._http.request(
            method,
            f"https://{authority(address)}{path}",
            data=body,
            headers=headers,
            ssl=leader.trust,
            server_hostname=server_name(self._access.namespace, self._access.service),
            allow_redirects=False,
        ) as answer:
            return answer.status, await answer.read()

    def _token(self) -> str:
        # Read each time: the kubelet replaces it well before it ends.
        try:
            return self._access.token.read_text().strip()
        except OSError as error:
            raise ControllerError(f"no token for the controller: {error}") from None


def _not_reached(address: Address, error: aiohttp.ClientError) -> NotReachedError:
    # Not aiohttp's own words: they name an object in memory, and differ each time.
    cause: BaseException = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
    return NotReachedError(
        f"the controller cannot be reached at {authority(address)}: {words_of(cause)}"
    )
