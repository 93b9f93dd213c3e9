"""``/etc/hosts`` of a pod, which here also stands in for the cluster's DNS; pure.

A rig has no DNS server. The names that it would answer for Services are written to each pod's
hosts file instead: ``<service>.<namespace>.svc.cluster.local`` and its shorter forms. Not covered:
SRV records, pods' own names, and headless Services.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CLUSTER_DOMAIN = "cluster.local"


def hosts_text(
    namespace: str,
    own: Iterable[tuple[str, str]],
    services: Iterable[Mapping[str, Any]],
) -> str:
    """Return the contents for a pod of ``namespace``; ``own`` are further addresses and names."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{address} {name}" for address, name in own if address]
    for service in services:
        metadata = service["metadata"]
        long = f"{metadata['name']}.{metadata['namespace']}"
        names = [f"{long}.svc.{CLUSTER_DOMAIN}", f"{long}.svc", long]
        if metadata["namespace"] == namespace:
            names.append(metadata["name"])
        lines += [
            f"{address} {' '.join(names)}"
            for address in service["spec"].get("clusterIPs") or []
            if address != "None"
        ]
    return "\n".join([*lines, ""])


def rewrite(path: Path, text: str) -> None:
    """Replace the contents of a file that is mounted elsewhere: it must stay the same file."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
