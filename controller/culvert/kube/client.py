"""Requests to the Kubernetes API: bytes out, bytes in, refusals as exceptions.

Nothing is retried here but a request that the server did not take our credentials for, once, with
the credentials read anew. Who calls knows what else may be tried again, and when.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from culvert import __version__
from culvert.kube.access import Access, default_access, in_cluster_access, kubeconfig_access
from culvert.kube.connection import socket_with_keepalive, words_of
from culvert.kube.errors import AccessError, ApiUnreachable, error_from_answer
from culvert.kube.lines import lines_of

Params = Mapping[str, str | int | bool]
"""Query parameters; booleans are sent as ``true`` and ``false``."""

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 30.0
WATCH_IDLE_SECONDS = 660.0
"""A watch that says nothing for so long is broken: it is longer than any watch that we ask for.

Bookmarks come about once a minute, but from a server with an old etcd only when something has
changed. A peer that is gone is noticed sooner, by keep-alive of the connection.
"""

_READ_BUFFER_BYTES = 1 << 20
_JSON = "application/json"


class KubeClient:
    """One API server. An async context manager; requests may run side by side.

    Every request raises ``ApiError`` for a refusal and ``ApiUnreachable`` for no answer, and may
    raise ``AccessError`` when credentials have become unreadable. Paths start with a slash.
    """

    def __init__(self, access: Access, *, watch_idle_seconds: float = WATCH_IDLE_SECONDS) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None
        self._renewal = asyncio.Lock()
        self._renewals = 0
        self._watch_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=watch_idle_seconds
        )

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Self:
        """By the current context of a kubeconfig."""
        return cls(kubeconfig_access(path))

    @classmethod
    def in_cluster(cls) -> Self:
        """By the pod's service account."""
        return cls(in_cluster_access())

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """A named kubeconfig, ``$KUBECONFIG``, the service account, or the user's kubeconfig."""
        return cls(default_access(path))

    async def __aenter__(self) -> Self:
        """Read the configuration; the server is not asked anything yet.

        Raises:
            AccessError: the configuration cannot be read.
        """
        await self._access.renew()
        # trust_env: HTTPS_PROXY and NO_PROXY, as every Kubernetes client honours them.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=socket_with_keepalive),
            trust_env=True,
            read_bufsize=_READ_BUFFER_BYTES,
            headers={"User-Agent": f"culvert/{__version__}", "Accept": _JSON},
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self._access.server

    async def get(self, path: str, params: Params | None = None) -> bytes:
        """Read an object or a list."""
        return await self._call("GET", path, params)

    async def create(self, path: str, body: Any, params: Params | None = None) -> bytes:
        """POST an object to its collection."""
        return await self._call("POST", path, params, body)

    async def replace(self, path: str, body: Any, params: Params | None = None) -> bytes:
        """PUT an object; with a resourceVersion in it, only over that version (else 409)."""
        return await self._call("PUT", path, params, body)

    async def delete(
        self, path: str, body: Any | None = None, params: Params | None = None
    ) -> bytes:
        """DELETE an object, or every object of a collection; ``body`` is a DeleteOptions."""
        return await self._call("DELETE", path, params, body)

    async def apply(
        self,
        path: str,
        body: Any,
        *,
        field_manager: str,
        force: bool = True,
        params: Params | None = None,
    ) -> bytes:
        """Server-side apply to an object, or to its status if the path ends in ``/status``.

        With ``force`` the fields in ``body`` become this manager's; without it, a field of another
        manager's is a conflict (409).
        """
        query = {**(params or {}), "fieldManager": field_manager, "force": force}
        return await self._call("PATCH", path, query, body, "application/apply-patch+yaml")

    async def merge_patch(self, path: str, body: Any, params: Params | None = None) -> bytes:
        """JSON merge patch (RFC 7386): null removes a field."""
        return await self._call("PATCH", path, params, body, "application/merge-patch+json")

    @asynccontextmanager
    async def open_stream(
        self, path: str, params: Params | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A watch, entered once the server has accepted it: its events, each one JSON object.

        The caller asks for the watch (``watch=true``) and a ``timeoutSeconds`` in ``params``; the
        events stop when the server ends it, in good order.
        """
        async with self._answer("GET", path, params, timeout=self._watch_timeout) as answer:
            yield lines_of(answer.content)

    async def stream(self, path: str, params: Params | None = None) -> AsyncIterator[bytes]:
        """The same as one iterator. Close it (``contextlib.aclosing``) where it is left early."""
        async with self.open_stream(path, params) as events:
            async for event in events:
                yield event

    async def _call(
        self,
        method: str,
        path: str,
        params: Params | None,
        body: Any | None = None,
        content_type: str = _JSON,
    ) -> bytes:
        data = None if body is None else msgspec.json.encode(body)
        async with self._answer(method, path, params, data, content_type) as answer:
            return await answer.read()

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        params: Params | None,
        data: bytes | None = None,
        content_type: str = _JSON,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109 - aiohttp's own, per phase
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer whose body is still to be read; what breaks in it is ApiUnreachable too."""
        query = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in (params or {}).items()
        }
        options: dict[str, Any] = {"params": query}
        if data is not None:
            options["data"] = data
        if timeout is not None:
            options["timeout"] = timeout
        try:
            answer = await self._send(method, path, content_type, data is not None, options)
            async with answer:
                if answer.status >= 400:
                    raise error_from_answer(
                        await answer.read(), answer.status, answer.headers.get("Retry-After")
                    )
                yield answer
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ApiUnreachable(f"{self.server}: {words_of(error)}") from error

    async def _send(
        self, method: str, path: str, content_type: str, has_body: bool, options: dict[str, Any]
    ) -> aiohttp.ClientResponse:
        """Send; where credentials or trust are out of date, read them anew and send once more."""
        renewals = self._renewals
        try:
            answer = await self._send_once(method, path, content_type, has_body, options)
        except (aiohttp.ClientSSLError, ssl.SSLError):
            if not await self._renew(renewals):
                raise
        else:
            if answer.status != 401 or not await self._renew(renewals):
                return answer
            answer.release()
        return await self._send_once(method, path, content_type, has_body, options)

    async def _send_once(
        self, method: str, path: str, content_type: str, has_body: bool, options: dict[str, Any]
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "use it as a context manager"
        headers = await self._access.headers()
        if has_body:
            headers["Content-Type"] = content_type
        return await self._session.request(
            method, self.server + path, headers=headers, **self._access.connection(), **options
        )

    async def _renew(self, renewals: int) -> bool:
        """Read credentials anew unless another request just has; False where that failed."""
        async with self._renewal:
            if self._renewals == renewals:
                try:
                    await self._access.renew()
                except AccessError:
                    return False
                self._renewals += 1
            return True
