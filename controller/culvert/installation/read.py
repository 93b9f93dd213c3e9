"""Asks the API for what is installed."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

import msgspec

from culvert.installation.parts import Installation, Leadership, Metadata, Pod, Workloads
from culvert.kube.client import KubeClient
from culvert.kube.errors import ApiError

_PART = "app.kubernetes.io/part-of=culvert"
_COMPONENT = "app.kubernetes.io/component"
_WATCHED_SECONDS = 10.0
_POLL_SECONDS = 0.5

_T = TypeVar("_T")


class _List(msgspec.Struct, Generic[_T]):
    items: list[_T] = []


class _Resource(msgspec.Struct):
    name: str


class _Resources(msgspec.Struct):
    resources: list[_Resource] = []


class _LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None


class _Lease(msgspec.Struct):
    metadata: Metadata
    spec: _LeaseSpec = _LeaseSpec()


async def read_installation(api: KubeClient, namespace: str) -> Installation:
    """Read what there is in ``namespace``; takes ten seconds where a lease is not renewed.

    Needs to list DaemonSets, Deployments and Pods and to get the controller's Lease there.

    Raises:
        ApiError, ApiUnreachable, AccessError: the API does not answer, or refuses.
    """
    apps = f"/apis/apps/v1/namespaces/{namespace}"
    selector = {"labelSelector": _PART}
    daemons = msgspec.json.decode(
        await api.get(f"{apps}/daemonsets", selector), type=_List[Workloads]
    )
    deployments = msgspec.json.decode(
        await api.get(f"{apps}/deployments", selector), type=_List[Workloads]
    )
    pods = msgspec.json.decode(
        await api.get(f"/api/v1/namespaces/{namespace}/pods", selector), type=_List[Pod]
    )
    parts = {
        one.metadata.labels.get(_COMPONENT): one for one in (*daemons.items, *deployments.items)
    }
    controller = parts.get("controller")
    return Installation(
        namespace=namespace,
        kinds=await _kinds(api),
        agent=parts.get("agent"),
        proxy=parts.get("proxy"),
        controller=controller,
        leadership=(
            None if controller is None else await _leadership(api, namespace, controller.metadata)
        ),
        pods=tuple(pods.items),
    )


async def _kinds(api: KubeClient) -> frozenset[str]:
    try:
        found = await api.get("/apis/culvert.dev/v1alpha1")
    except ApiError as refused:
        if refused.status == 404:
            return frozenset()
        raise
    return frozenset(one.name for one in msgspec.json.decode(found, type=_Resources).resources)


async def _leadership(api: KubeClient, namespace: str, controller: Metadata) -> Leadership | None:
    """Watch the Lease for a change. Its times are not looked at: clocks differ."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{controller.name}"
    try:
        first = msgspec.json.decode(await api.get(path), type=_Lease)
        last = first
        for _ in range(int(_WATCHED_SECONDS / _POLL_SECONDS)):
            if last.metadata.resource_version != first.metadata.resource_version:
                break
            await asyncio.sleep(_POLL_SECONDS)
            last = msgspec.json.decode(await api.get(path), type=_Lease)
    except ApiError as refused:
        if refused.status == 404:
            return None
        raise
    renewed = last.metadata.resource_version != first.metadata.resource_version
    return Leadership(last.spec.holder_identity or "", renewed)
