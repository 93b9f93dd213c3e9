"""What the load clients of the demonstration printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from culvert.embedded.demo.cast import REFUSED_ANNOTATION, ObjectName, Spoken, called_by
from culvert.embedded.demo.readings import ClientReading, read_client
from culvert.rig.pod_status import PodStatus


def read_clients(
    pods: Iterable[PodStatus], log_directory: Path, protocols: Mapping[ObjectName, Spoken]
) -> list[ClientReading]:
    """Read the logs of those pods that say which Service they call. Blocks on the file system."""
    clients = []
    for pod in pods:
        service = called_by(pod.template.annotations)
        if not service:
            continue
        protocol = protocols.get(ObjectName(pod.namespace, service), Spoken("tcp", is_http=False))
        lines: list[str] = []
        for log in sorted((log_directory / f"{pod.namespace}_{pod.name}").glob("*.log")):
            lines += log.read_text(errors="replace").splitlines()
        client = read_client(pod.name, pod.node_name, service, protocol, lines)
        is_refused = REFUSED_ANNOTATION in pod.template.annotations
        clients.append(replace(client, is_refused=is_refused))
    return sorted(clients, key=lambda client: client.pod)
