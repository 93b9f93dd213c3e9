"""kube-proxy's part: cluster IPs of the API server's Services, translated on each node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from culvert.rig.kube.mirror import Document, Mirror
from culvert.rig.kube_proxy import apply_rules, rules_of, ruleset
from culvert.rig.node import Node


def service_rules(mirror: Mirror) -> str:
    """Return the rules for what the mirror holds, as a script for nft."""
    return ruleset(
        rules_of(
            (
                *_of_kind("Service", mirror.services.values()),
                *_of_kind("EndpointSlice", mirror.endpoint_slices.values()),
            )
        )
    )


async def keep_rules(mirror: Mirror, nodes: Sequence[Node], changed: asyncio.Event) -> None:
    """Keep the nodes' rules equal to the mirror, until cancelled.

    ``changed`` is cleared here and must be set whenever the mirror has changed.

    Raises:
        OSError: ``nft`` is not there or failed.
    """
    loaded = ""
    while True:
        await changed.wait()
        changed.clear()
        rules = service_rules(mirror)
        if not mirror.synced or rules == loaded:
            continue
        for node in nodes:
            await asyncio.to_thread(apply_rules, node, rules)
        loaded = rules


def _of_kind(kind: str, documents: Iterable[Document]) -> list[Document]:
    # Items of a list do not say their kind.
    return [{**document, "kind": kind} for document in documents]
