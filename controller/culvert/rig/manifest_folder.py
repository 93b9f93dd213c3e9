"""Read a folder of Kubernetes manifests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import yaml
from watchfiles import awatch

from culvert.model.finding import Finding
from culvert.rig.codes import INVALID_OBJECT, UNREADABLE_MANIFEST
from culvert.rig.wanted import SourcedDocument

SUFFIXES = (".yaml", ".yml", ".json")

_MISSING_FOLDER_SECONDS = 0.5

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ManifestFolder:
    """A folder, or one file, of YAML or JSON documents; remembers the last good state of each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._good: dict[Path, list[SourcedDocument]] = {}

    def read(self) -> tuple[list[SourcedDocument], list[Finding]]:
        """Read all files, in the order of their names.

        A file that cannot be read counts with its last good documents. Members of a ``List``
        count as documents of their own.
        """
        findings: list[Finding] = []
        if not self._path.exists():
            missing = Finding(
                UNREADABLE_MANIFEST.id,
                str(self._path),
                "",
                "there is no such folder",
                "create it; what was last read from it stays in force",
            )
            return [document for good in self._good.values() for document in good], [missing]
        files = self._files()
        for gone in self._good.keys() - set(files):
            del self._good[gone]
        for file in files:
            try:
                self._good[file] = list(_documents(file, findings))
            except FileNotFoundError:
                # Renamed away between the listing and now; the next read settles it.
                self._good.pop(file, None)
            except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                findings.append(
                    Finding(
                        UNREADABLE_MANIFEST.id,
                        str(file),
                        "",
                        _problem(error),
                        "correct the file; its last good version stays in force",
                    )
                )
        return [document for file in files for document in self._good.get(file, [])], findings

    async def changes(self) -> AsyncIterator[None]:
        """Yield whenever something in the folder changed, some moments later.

        Goes on when the folder is removed and made again.
        """
        # A file that is replaced by a rename is another file: only its folder sees that.
        watched = self._path.parent if self._path.is_file() else self._path
        while True:
            if not watched.is_dir():
                await asyncio.sleep(_MISSING_FOLDER_SECONDS)
                continue
            identity = _identity(watched)
            yield
            async for _ in awatch(
                watched, debounce=200, step=50, rust_timeout=2000, yield_on_timeout=True
            ):
                yield
                if _identity(watched) != identity:
                    break

    def _files(self) -> list[Path]:
        if self._path.is_file():
            return [self._path]
        return sorted(
            file
            for file in self._path.glob("**/*")
            if file.suffix in SUFFIXES and not file.name.startswith(".") and file.is_file()
        )


def _documents(file: Path, findings: list[Finding]) -> Iterator[SourcedDocument]:
    number = 0
    for document in yaml.load_all(file.read_text(encoding="utf-8"), Loader=_Loader):
        if document is None:
            continue
        is_list = isinstance(document, dict) and str(document.get("kind", "")).endswith("List")
        for member in document.get("items") or [] if is_list else [document]:
            number += 1
            place = f"{file}#{number}"
            if isinstance(member, dict):
                yield SourcedDocument(place, member)
            else:
                findings.append(
                    Finding(
                        INVALID_OBJECT.id,
                        place,
                        "",
                        "the document is not an object",
                        "begin it with apiVersion, kind and metadata",
                    )
                )


def _identity(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).replace("\n", " ")
