"""Publishes the leader's certificate, and keeps it published."""

from __future__ import annotations

import asyncio
import random

import structlog

from culvert.control.status_writer import FIELD_MANAGER
from culvert.kube.backoff import Backoff
from culvert.kube.client import KubeClient
from culvert.kube.errors import AccessError, ApiError, ApiUnreachable
from culvert.model.report import CERTIFICATE_KEY, trust_config_map

_log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 60.0
"""Somebody may have deleted it."""


async def keep_published(api: KubeClient, namespace: str, service: str, certificate: str) -> None:
    """Apply the ConfigMap, and again every minute. Ends only by cancellation."""
    name = trust_config_map(service)
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name},
        "data": {CERTIFICATE_KEY: certificate},
    }
    path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    backoff = Backoff(random.random)
    while True:
        pause_seconds = _AGAIN_SECONDS
        try:
            await api.apply(path, body, field_manager=FIELD_MANAGER)
        except (ApiError, ApiUnreachable, AccessError) as error:
            _log.warning("certificate not published; trying again", error=str(error))
            pause_seconds = backoff.delay_seconds(asyncio.get_running_loop().time())
        await asyncio.sleep(pause_seconds)
