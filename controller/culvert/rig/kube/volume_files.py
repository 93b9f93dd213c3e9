"""What is in the volumes of a pod that are made of objects; pure.

configMap, secret, downwardAPI and projected, as in "Volumes" of the Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from culvert.rig.environment import pod_field
from culvert.rig.kube.references import References
from culvert.rig.pod_status import PodStatus
from culvert.rig.surroundings import NotStartableError

DEFAULT_MODE = 0o644
_DEFAULT_TOKEN_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class File:
    """A file of a volume."""

    content: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class TokenWant:
    """A service account token that a volume holds; an empty audience is the API server's."""

    path: str
    audience: str
    expiration_seconds: int


def tokens_wanted(volume: Mapping[str, Any]) -> Iterator[TokenWant]:
    """Yield the tokens that a volume of a pod spec holds."""
    for source in (volume.get("projected") or {}).get("sources") or []:
        if token := source.get("serviceAccountToken"):
            yield TokenWant(
                token["path"],
                token.get("audience") or "",
                token.get("expirationSeconds") or _DEFAULT_TOKEN_SECONDS,
            )


def volume_files(
    volume: Mapping[str, Any],
    pod: PodStatus,
    references: References,
    tokens: Mapping[TokenWant, str],
) -> dict[str, File] | None:
    """Return the files of a volume by path; None for a volume that is not made of objects.

    Raises:
        NotStartableError: a ConfigMap, a Secret or a key of one is not there.
    """
    if source := volume.get("configMap"):
        return _of_object("ConfigMap", source["name"], source, _mode(source), pod, references)
    if source := volume.get("secret"):
        return _of_object("Secret", source["secretName"], source, _mode(source), pod, references)
    if source := volume.get("downwardAPI"):
        return _of_fields(source, _mode(source), pod)
    if source := volume.get("projected"):
        files: dict[str, File] = {}
        for part in source.get("sources") or []:
            files.update(_of_part(part, _mode(source), pod, references, tokens))
        return files
    return None


def _mode(source: Mapping[str, Any]) -> int:
    mode = source.get("defaultMode")
    return DEFAULT_MODE if mode is None else int(mode)


def _of_part(
    part: Mapping[str, Any],
    mode: int,
    pod: PodStatus,
    references: References,
    tokens: Mapping[TokenWant, str],
) -> dict[str, File]:
    if source := part.get("configMap"):
        return _of_object("ConfigMap", source["name"], source, mode, pod, references)
    if source := part.get("secret"):
        return _of_object("Secret", source["name"], source, mode, pod, references)
    if source := part.get("downwardAPI"):
        return _of_fields(source, mode, pod)
    wanted = tokens_wanted({"projected": {"sources": [part]}})
    return {want.path: File(tokens[want].encode(), mode) for want in wanted}


def _of_object(
    kind: str,
    name: str,
    source: Mapping[str, Any],
    mode: int,
    pod: PodStatus,
    references: References,
) -> dict[str, File]:
    optional = bool(source.get("optional"))
    data = references.data(kind, pod.namespace, name, optional=optional) or {}
    items = source.get("items")
    if not items:
        return {key: File(content, mode) for key, content in data.items()}
    files = {}
    for item in items:
        if item["key"] in data:
            files[item["path"]] = File(data[item["key"]], _item_mode(item, mode))
        elif not optional:
            raise NotStartableError(
                "ContainerCreating", f"{kind} {pod.namespace}/{name} has no key {item['key']}"
            )
    return files


def _of_fields(source: Mapping[str, Any], mode: int, pod: PodStatus) -> dict[str, File]:
    return {
        item["path"]: File(_field_text(item, pod).encode(), _item_mode(item, mode))
        for item in source.get("items") or []
    }


def _item_mode(item: Mapping[str, Any], mode: int) -> int:
    return mode if item.get("mode") is None else int(item["mode"])


def _field_text(item: Mapping[str, Any], pod: PodStatus) -> str:
    path = (item.get("fieldRef") or {}).get("fieldPath", "")
    whole = {
        "metadata.labels": pod.template.labels,
        "metadata.annotations": pod.template.annotations,
    }
    if path in whole:
        return "\n".join(f'{name}="{value}"' for name, value in sorted(whole[path].items()))
    return pod_field(path, pod) if path else "1"
