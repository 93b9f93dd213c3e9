"""Service account tokens for volumes, renewed before they expire (TokenRequest API)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from culvert.kube.client import KubeClient
from culvert.rig.kube.volume_files import TokenWant
from culvert.rig.pod_status import PodStatus

_RENEWED_AFTER = 0.8
"""Of a token's life, as the kubelet does."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renewed_at: datetime


class Tokens:
    """Tokens of the pods that run, each bound to its pod: invalid once the pod is deleted."""

    def __init__(
        self, client: KubeClient, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client = client
        self._now = now
        self._tokens: dict[tuple[str, TokenWant], _Token] = {}

    async def token(self, pod: PodStatus, want: TokenWant) -> str:
        """Return a token that is good for a while.

        Raises:
            ApiError: the server refuses it, for instance because there is no such account.
            ApiUnreachable: there is no answer.
        """
        have = self._tokens.get((pod.uid, want))
        if have is None or self._now() >= have.renewed_at:
            have = await self._request(pod, want)
            self._tokens[pod.uid, want] = have
        return have.text

    def forget(self, uid: str) -> None:
        """Forget the tokens of a pod that is gone."""
        for key in [key for key in self._tokens if key[0] == uid]:
            del self._tokens[key]

    async def _request(self, pod: PodStatus, want: TokenWant) -> _Token:
        account = pod.template.service_account or "default"
        answer = json.loads(
            await self._client.create(
                f"/api/v1/namespaces/{pod.namespace}/serviceaccounts/{account}/token",
                {
                    "apiVersion": "authentication.k8s.io/v1",
                    "kind": "TokenRequest",
                    "spec": {
                        "audiences": [want.audience] if want.audience else [],
                        "expirationSeconds": want.expiration_seconds,
                        "boundObjectRef": {
                            "apiVersion": "v1",
                            "kind": "Pod",
                            "name": pod.name,
                            "uid": pod.uid,
                        },
                    },
                },
            )
        )
        started = self._now()
        expires = datetime.fromisoformat(answer["status"]["expirationTimestamp"])
        life: timedelta = expires - started
        return _Token(answer["status"]["token"], started + _RENEWED_AFTER * life)
