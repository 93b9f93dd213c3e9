"""What pods name in ConfigMaps and Secrets; pure."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from culvert.model.key import ObjectKey
from culvert.rig.surroundings import NotStartableError

_Documents = Mapping[ObjectKey, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class References:
    """The ConfigMaps and Secrets that there are, by namespace and name."""

    config_maps: _Documents
    secrets: _Documents

    def data(
        self, kind: str, namespace: str, name: str, *, optional: bool
    ) -> Mapping[str, bytes] | None:
        """Return the contents of a ConfigMap or Secret; None when it is optional and not there.

        Raises:
            NotStartableError: it is not there.
        """
        documents = self.secrets if kind == "Secret" else self.config_maps
        document = documents.get(ObjectKey(namespace, name))
        if document is None:
            if optional:
                return None
            raise _missing(f'{kind.lower()} "{name}" not found in namespace {namespace}')
        if kind == "Secret":
            return {key: b64decode(value) for key, value in (document.get("data") or {}).items()}
        texts = {key: value.encode() for key, value in (document.get("data") or {}).items()}
        binary = {k: b64decode(v) for k, v in (document.get("binaryData") or {}).items()}
        return {**texts, **binary}

    def value(self, kind: str, namespace: str, reference: Mapping[str, Any]) -> bytes | None:
        """Return what a key reference names; None when it is optional and not there.

        Raises:
            NotStartableError: it is not there.
        """
        optional, name, key = bool(reference.get("optional")), reference["name"], reference["key"]
        data = self.data(kind, namespace, name, optional=optional)
        if data is not None and key in data:
            return data[key]
        if optional:
            return None
        raise _missing(f"couldn't find key {key} in {kind} {namespace}/{name}")


def _missing(message: str) -> NotStartableError:
    return NotStartableError("CreateContainerConfigError", message)
