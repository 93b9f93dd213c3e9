"""The working copy of a folder of manifests, in which the demonstration makes its changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from culvert.embedded.demo.cast import labels_of, name_of
from culvert.rig.manifest_folder import SUFFIXES

Documents = list[dict[str, Any]]


def manifests_of(folder: Path) -> list[Path]:
    """The manifests of a folder, by name; folders inside of it are left out."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


class WorkingCopy:
    """Copies a folder, stage by stage, and edits the copy; the folder itself is never written.

    A file that is no YAML is copied as it is: whoever reads the copy reports it.
    """

    def __init__(self, source: Path, copy: Path) -> None:
        self._copy = copy
        self._texts: dict[str, str] = {}
        self._sources: dict[str, Documents] = {}
        for path in manifests_of(source):
            text = path.read_text(encoding="utf-8", errors="replace")
            try:
                self._sources[path.name] = _load(text)
            except yaml.YAMLError:
                self._texts[path.name] = text

    @property
    def documents(self) -> Documents:
        """All objects of the folder that was copied."""
        return [document for documents in self._sources.values() for document in documents]

    def publish(self, wanted: Callable[[Mapping[str, Any]], bool]) -> None:
        """Copy the objects that are wanted by now."""
        for name, documents in self._sources.items():
            self._write(name, _dump([document for document in documents if wanted(document)]))

    def publish_all(self) -> None:
        """Copy everything."""
        self.publish(lambda document: True)
        for name, text in self._texts.items():
            self._write(name, text)

    def edit(self, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        """Change objects in the copy, as it is now."""
        for name in self._sources:
            documents = _load((self._copy / name).read_text(encoding="utf-8"))
            self._write(name, _dump([change(document) for document in documents]))

    def add(self, name: str, text: str) -> None:
        """Write a file that the source does not have."""
        self._write(name, text)

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """The labels of a namespace, as the folder that was copied has them."""
        for document in self.documents:
            if document.get("kind") == "Namespace" and name_of(document).name == namespace:
                return labels_of(document)
        return {}

    def _write(self, name: str, text: str) -> None:
        path = self._copy / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        temporary = self._copy / f".{name}"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def _load(text: str) -> Documents:
    documents: Documents = []
    for document in yaml.safe_load_all(text):
        if not isinstance(document, dict):
            continue
        if str(document.get("kind", "")).endswith("List"):
            items = document.get("items") or []
            documents += [item for item in items if isinstance(item, dict)]
        else:
            documents.append(document)
    return documents


def _dump(documents: Documents) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False)
