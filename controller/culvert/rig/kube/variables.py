"""The environment of a container of an API server's pod; pure.

In the order of the kubelet: Services, ``envFrom``, ``env``; later ones win.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from culvert.rig.environment import expand, pod_field
from culvert.rig.kube.references import References
from culvert.rig.pod_status import PodStatus
from culvert.rig.podspec import Container, EnvVar

_KINDS = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}


def link_variables(namespace: str, services: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the variables of the Services of a namespace that have a cluster IP."""
    variables: dict[str, str] = {}
    for service in services:
        metadata, spec = service["metadata"], service["spec"]
        address = spec.get("clusterIP") or "None"
        if metadata["namespace"] == namespace and address != "None":
            prefix = metadata["name"].upper().replace("-", "_").replace(".", "_")
            variables[f"{prefix}_SERVICE_HOST"] = address
            for index, port in enumerate(spec.get("ports") or []):
                if index == 0:
                    variables[f"{prefix}_SERVICE_PORT"] = str(port["port"])
                if port.get("name"):
                    name = port["name"].upper().replace("-", "_")
                    variables[f"{prefix}_SERVICE_PORT_{name}"] = str(port["port"])
    return variables


def kube_environment(
    container: Container,
    pod: PodStatus,
    *,
    base: Mapping[str, str],
    links: Mapping[str, str],
    api: Mapping[str, str],
    references: References,
) -> dict[str, str]:
    """Return all variables of a container.

    ``base`` are those that every process needs, ``links`` those of Services, left out when the pod
    does not want them, ``api`` those that lead to the API server.

    Raises:
        NotStartableError: a ConfigMap, a Secret or a key of one is not there.
    """
    variables = {**base, "HOSTNAME": pod.name}
    if pod.template.service_links:
        variables.update(links)
    variables.update(api)
    spec = _spec_of(container, pod)
    for source in spec.get("envFrom") or []:
        variables.update(_all_of(source, pod.namespace, references))
    for variable in container.env:
        value = _value(variable, pod, variables, references)
        if value is not None:
            variables[variable.name] = value
    return variables


def _spec_of(container: Container, pod: PodStatus) -> Mapping[str, Any]:
    for name in ("containers", "initContainers"):
        for spec in pod.template.spec.get(name) or []:
            if spec["name"] == container.name:
                found: Mapping[str, Any] = spec
                return found
    return {}


def _all_of(source: Mapping[str, Any], namespace: str, references: References) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        if reference := source.get(field):
            data = references.data(
                kind, namespace, reference["name"], optional=bool(reference.get("optional"))
            )
            return {f"{prefix}{key}": _text(value) for key, value in (data or {}).items()}
    return {}


def _value(
    variable: EnvVar, pod: PodStatus, variables: Mapping[str, str], references: References
) -> str | None:
    if variable.field_path is not None:
        return pod_field(variable.field_path, pod)
    for field, kind in _KINDS.items():
        if reference := (variable.source or {}).get(field):
            found = references.value(kind, pod.namespace, reference)
            return None if found is None else _text(found)
    if (variable.source or {}).get("resourceFieldRef"):
        # Nothing is limited here: as a container without limits on a node with one CPU.
        return "1"
    return expand(variable.value, variables)


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")
