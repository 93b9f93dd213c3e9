"""The environment of a container; pure.

See the Kubernetes documentation on dependent environment variables, on the downward API, and on
the variables of a Service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from culvert.rig.cluster_ips import ClusterIps
from culvert.rig.pod_status import PodStatus
from culvert.rig.podspec import Container
from culvert.rig.service import Service

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_.-][A-Za-z0-9_.-]*)\))")
_MAP_FIELD = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by the variable's value; ``$$`` stands for ``$``.

    A reference to a variable that does not exist stays as it is.
    """

    def replacement(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(replacement, text)


def service_links(
    namespace: str, services: Iterable[Service], cluster_ips: ClusterIps
) -> dict[str, str]:
    """Return ``<SVC>_SERVICE_HOST`` and ``_PORT`` of the Services of a namespace."""
    variables: dict[str, str] = {}
    for service in services:
        addresses = cluster_ips.get(service.key, ())
        if service.namespace != namespace or not addresses or not service.ports:
            continue
        prefix = service.name.upper().replace("-", "_").replace(".", "_")
        variables[f"{prefix}_SERVICE_HOST"] = addresses[0]
        variables[f"{prefix}_SERVICE_PORT"] = str(service.ports[0].port)
        for port in service.ports:
            if port.name:
                name = port.name.upper().replace("-", "_")
                variables[f"{prefix}_SERVICE_PORT_{name}"] = str(port.port)
    return variables


def pod_field(path: str, pod: PodStatus) -> str:
    """Return a field of a pod by its path; empty when it has none of that name."""
    if match := _MAP_FIELD.fullmatch(path):
        source = pod.template.labels if match[1] == "labels" else pod.template.annotations
        return source.get(match[2], "")
    return {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": pod.node_name,
        "spec.serviceAccountName": pod.template.service_account,
        "status.podIP": pod.ips[0] if pod.ips else "",
        "status.podIPs": ",".join(pod.ips),
        "status.hostIP": pod.host_ips[0] if pod.host_ips else "",
        "status.hostIPs": ",".join(pod.host_ips),
    }.get(path, "")


def container_environment(
    container: Container,
    pod: PodStatus,
    links: Mapping[str, str],
    base: Mapping[str, str],
) -> dict[str, str]:
    """Return all variables of a container.

    ``links`` are those of Services, left out when the pod does not want them; ``base`` those that
    every process needs. A variable may refer to earlier ones and to both of these.
    """
    variables = {**base, "HOSTNAME": pod.name}
    if pod.template.service_links:
        variables.update(links)
    for variable in container.env:
        if variable.field_path is not None:
            variables[variable.name] = pod_field(variable.field_path, pod)
        else:
            variables[variable.name] = expand(variable.value, variables)
    return variables
