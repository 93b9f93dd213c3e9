"""Which node shows a token: asked of the API (``TokenReview``), and remembered for a while."""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec
import structlog

from culvert.kube.client import KubeClient
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.model.refusal import RefusedError
from culvert.model.report import TOKEN_AUDIENCE

_log = structlog.get_logger(__name__)

REMEMBER_SECONDS = 600.0
"""A token that was good is taken for good for so long, and never beyond its own end."""
MAX_REMEMBERED = 20_000

_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_NODE = "authentication.kubernetes.io/node-name"
_POD = "authentication.kubernetes.io/pod-name"


class _User(msgspec.Struct, frozen=True):
    username: str = ""
    extra: dict[str, list[str]] = {}


class _Review(msgspec.Struct, frozen=True):
    authenticated: bool = False
    audiences: list[str] = []
    user: _User = _User()
    error: str = ""


class _ReviewObject(msgspec.Struct, frozen=True):
    status: _Review = _Review()


class _PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""


class _Pod(msgspec.Struct, frozen=True):
    spec: _PodSpec = _PodSpec()


class _Claims(msgspec.Struct, frozen=True):
    exp: float = 0.0


_REVIEW = msgspec.json.Decoder(_ReviewObject)
_POD_OBJECT = msgspec.json.Decoder(_Pod)
_CLAIMS = msgspec.json.Decoder(_Claims)


class Callers:
    """Reviews tokens. ``service_account`` is ``namespace:name``, the only one that may report."""

    def __init__(
        self,
        api: KubeClient,
        service_account: str,
        unix_seconds: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._username = f"system:serviceaccount:{service_account}"
        self._unix_seconds = unix_seconds
        # Digest of a token -> its node, and until when (UNIX seconds) that is known.
        self._known: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    async def node_of(self, token: str) -> str:
        """Return the node on which the pod runs that the token was made for.

        Raises:
            RefusedError: it is not a good token of an agent, or nobody can say now.
        """
        if not token.isascii():
            # It is none, and bytes that are no text could not even be asked about.
            raise RefusedError(401, "Unauthenticated", "the bearer token is not text in ASCII")
        digest = hashlib.sha256(token.encode()).digest()
        node, until_seconds = self._known.get(digest, ("", 0.0))
        now_seconds = self._unix_seconds()
        if now_seconds < until_seconds:
            return node
        self._known.pop(digest, None)
        try:
            node = await self._review(token)
        except (ApiError, ApiUnreachable, AccessError, msgspec.MsgspecError) as error:
            _log.warning("token not reviewed", error=str(error))
            raise RefusedError(
                503, "Unavailable", "the API server cannot be asked about the token now"
            ) from None
        self._known[digest] = (node, min(_expiry_seconds(token), now_seconds + REMEMBER_SECONDS))
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return node

    async def _review(self, token: str) -> str:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [TOKEN_AUDIENCE]},
        }
        review = _REVIEW.decode(await self._api.create(_REVIEWS, body)).status
        if not review.authenticated or TOKEN_AUDIENCE not in review.audiences:
            raise RefusedError(
                401,
                "Unauthenticated",
                f"the token is not good for the audience {TOKEN_AUDIENCE}: mount one of a "
                "projected serviceAccountToken volume with that audience",
            )
        if review.user.username != self._username:
            raise RefusedError(
                403,
                "Forbidden",
                f"{review.user.username} may not report: only {self._username} may",
            )
        return await self._bound_node(review.user)

    async def _bound_node(self, user: _User) -> str:
        nodes, pods = user.extra.get(_NODE, []), user.extra.get(_POD, [])
        if nodes:
            return nodes[0]
        if pods:
            # Servers before 1.30 do not write the node into the token.
            namespace = self._username.split(":")[2]
            path = f"/api/v1/namespaces/{namespace}/pods/{pods[0]}"
            node = _POD_OBJECT.decode(await self._api.get(path)).spec.node_name
            if node:
                return node
        raise RefusedError(
            403,
            "Forbidden",
            "the token is bound to no pod on a node: mount one of a projected "
            "serviceAccountToken volume",
        )


def _expiry_seconds(token: str) -> float:
    """UNIX time of the end of a token that has been found good; 0 where it says none."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        return _CLAIMS.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).exp
    except (binascii.Error, msgspec.MsgspecError):
        return 0.0
