"""Folders of plain Kubernetes manifests as a source of worlds.

Read are ``.yaml``, ``.yml`` and ``.json`` files, at any depth, hidden ones left out; YAML files may
hold several documents, and ``List`` objects may hold several objects. What cannot be read is a
finding that names the file and the document; what was last good stays in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml
from watchfiles import awatch

from culvert.model.codes import (
    DUPLICATE_OBJECT,
    MISSING_FOLDER,
    UNKNOWN_KIND,
    UNREADABLE_FILE,
    UNREADABLE_OBJECT,
)
from culvert.model.endpoint import EndpointSlice
from culvert.model.finding import Finding, Severity
from culvert.model.key import ObjectKey
from culvert.model.node import Namespace, Node
from culvert.model.policy import (
    AuthorizationPolicy,
    MeshConfig,
    PeerAuthentication,
    TrafficPolicy,
)
from culvert.model.service import Service
from culvert.model.settings import Settings
from culvert.model.workload import Workload
from culvert.model.world import World
from culvert.sources.decode import (
    IGNORED_KINDS,
    Decoded,
    DecodeError,
    Identity,
    decode_document,
    identity_of,
)

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
QUIET_MILLISECONDS = 50
"""Changes that follow each other more closely than this make one world together."""
MAX_DELAY_MILLISECONDS = 500
"""A world is not held back longer than this, however long changes go on."""
RESYNC_SECONDS = 1.0


class Signature(NamedTuple):
    """Whether a file may have changed: a rename over it changes the inode, a write the time."""

    inode: int
    modified_ns: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """What one file gave, and what was wrong with it."""

    signature: Signature
    objects: Mapping[Identity, Decoded] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifests:
    """Everything read so far, by path, with roots that could not be found."""

    files: Mapping[Path, ManifestFile] = field(default_factory=dict)
    missing: tuple[Path, ...] = ()


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: as JSON, which has no timestamps."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def parse_manifest(
    path: Path, text: bytes, signature: Signature, last: ManifestFile | None = None
) -> ManifestFile:
    """Read one file. ``last`` is what the same file gave before.

    Objects equal to those of ``last`` keep their identity. A file that is no YAML or JSON keeps
    all of its last objects; a document that is no valid object keeps that object's last version.
    """
    kept = last.objects if last else {}
    try:
        documents = _load(path, text)
    except (yaml.YAMLError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        finding = Finding(
            UNREADABLE_FILE.id,
            str(path),
            _position(error),
            _first_line(error),
            "correct the file; its last good objects stay in force",
        )
        return ManifestFile(signature, kept, (finding,))
    objects: dict[Identity, Decoded] = {}
    findings: list[Finding] = []
    for where, document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            findings.append(_rejected(f"{path} {where}", "", "is not an object", "write a mapping"))
            continue
        identity = identity_of(document)
        subject = str(identity) if identity else f"{path} {where}"
        location = f" in {path} {where}"
        try:
            decoded = decode_document(document)
        except DecodeError as error:
            findings.append(_rejected(subject, error.field, error.message + location, error.remedy))
            if identity is not None and identity in kept and identity not in objects:
                objects[identity] = kept[identity]
            continue
        if decoded is None or identity is None:
            findings.extend(_ignored(path, where, document))
            continue
        if identity in objects:
            findings.append(_duplicate(subject, f"{path} {where}", str(path)))
            continue
        known = kept.get(identity)
        objects[identity] = known if known is not None and known == decoded else decoded
    return ManifestFile(signature, objects, tuple(findings))


def assemble_world(
    manifests: Manifests, settings: Settings, local_cgroups: Mapping[str, int] | None = None
) -> World:
    """Put files together, in order of path; the first definition of an object is in force."""
    namespaces: dict[str, Namespace] = {}
    nodes: dict[str, Node] = {}
    workloads: dict[ObjectKey, Workload] = {}
    services: dict[ObjectKey, Service] = {}
    endpoint_slices: dict[ObjectKey, EndpointSlice] = {}
    mesh_config: MeshConfig | None = None
    traffic_policies: dict[ObjectKey, TrafficPolicy] = {}
    peer_authentications: dict[ObjectKey, PeerAuthentication] = {}
    authorization_policies: dict[ObjectKey, AuthorizationPolicy] = {}
    findings: list[Finding] = []
    homes: dict[Identity, Path] = {}
    for path, file in sorted(manifests.files.items()):
        findings += file.findings
        for identity, decoded in file.objects.items():
            home = homes.setdefault(identity, path)
            if home != path:
                findings.append(_duplicate(str(identity), str(path), str(home)))
                continue
            match decoded:
                case Namespace():
                    namespaces[decoded.name] = decoded
                case Node():
                    nodes[decoded.name] = decoded
                case Workload():
                    workloads[decoded.key] = decoded
                case Service():
                    services[decoded.key] = decoded
                case EndpointSlice():
                    endpoint_slices[decoded.key] = decoded
                case MeshConfig():
                    mesh_config = decoded
                case TrafficPolicy():
                    traffic_policies[decoded.key] = decoded
                case PeerAuthentication():
                    peer_authentications[decoded.key] = decoded
                case AuthorizationPolicy():
                    authorization_policies[decoded.key] = decoded
    for root in manifests.missing:
        findings.append(
            Finding(
                MISSING_FOLDER.id,
                str(root),
                "",
                "there is no such file or folder",
                "create it; what was last read from it stays in force until then",
            )
        )
    return World(
        namespaces=namespaces,
        nodes=nodes,
        workloads=workloads,
        services=services,
        endpoint_slices=endpoint_slices,
        mesh_config=mesh_config,
        traffic_policies=traffic_policies,
        peer_authentications=peer_authentications,
        authorization_policies=authorization_policies,
        local_cgroups=local_cgroups or {},
        settings=settings,
        findings=tuple(sorted(set(findings))),
    )


def read_manifests(roots: Sequence[Path], last: Manifests | None = None) -> Manifests:
    """Read every manifest below ``roots``, files that did not change since ``last`` excepted.

    Blocks on the file system. A root that does not exist keeps what was last read from it; a file
    that is gone from a root that exists takes its objects with it.
    """
    known = last.files if last else {}
    files: dict[Path, ManifestFile] = {}
    missing = []
    for root in roots:
        if not root.exists():
            missing.append(root)
            files.update((p, file) for p, file in known.items() if p == root or root in p.parents)
            continue
        for path in _manifest_paths(root):
            try:
                stat = path.stat()
                signature = Signature(stat.st_ino, stat.st_mtime_ns, stat.st_size)
                before = known.get(path)
                if before is not None and before.signature == signature:
                    files[path] = before
                    continue
                files[path] = parse_manifest(path, path.read_bytes(), signature, before)
            except FileNotFoundError:
                # Renamed or deleted since it was listed; the change to come tells of it.
                continue
            except OSError as error:
                before = known.get(path)
                files[path] = ManifestFile(
                    Signature(0, 0, 0),
                    before.objects if before else {},
                    (
                        Finding(
                            UNREADABLE_FILE.id,
                            str(path),
                            "",
                            f"cannot be read: {error.strerror}",
                            "make it readable; its last good objects stay in force",
                        ),
                    ),
                )
    return Manifests(files, tuple(missing))


class ManifestSource:
    """Watches folders (or single files) of manifests."""

    def __init__(
        self,
        roots: Iterable[Path],
        settings: Settings | None = None,
        *,
        quiet_milliseconds: int = QUIET_MILLISECONDS,
        max_delay_milliseconds: int = MAX_DELAY_MILLISECONDS,
        resync_seconds: float = RESYNC_SECONDS,
    ) -> None:
        self.settings = settings or Settings()
        self._roots = tuple(Path(root).absolute() for root in roots)
        self._quiet_milliseconds = quiet_milliseconds
        self._max_delay_milliseconds = max_delay_milliseconds
        self._resync_seconds = resync_seconds
        self._manifests = Manifests()

    def read(self) -> World:
        """Read what changed and return the world as it is now. Blocks on the file system."""
        self._manifests = read_manifests(self._roots, self._manifests)
        return assemble_world(self._manifests, self.settings)

    async def watch(self) -> AsyncIterator[World]:
        """The world now, then another whenever it has changed. Ends only by cancellation.

        A folder that vanishes and comes back, also as another directory of the same name, is
        followed; that, and what the file system's notifications miss, within ``resync_seconds``.
        """
        world = await asyncio.to_thread(self.read)
        yield world
        while True:
            watched = _inodes(self._roots)
            async with aclosing(self._hints(tuple(watched))) as hints:
                async for _ in hints:
                    following = await asyncio.to_thread(self.read)
                    if following != world:
                        world = following
                        yield world
                    if _inodes(self._roots) != watched:
                        break

    async def _hints(self, watched: Sequence[Path]) -> AsyncGenerator[None, None]:
        """Now and then, a hint that something below the roots may have changed."""
        if not watched:
            await asyncio.sleep(self._resync_seconds)
            yield None
            return
        changes = awatch(
            *watched,
            watch_filter=None,
            step=self._quiet_milliseconds,
            debounce=self._max_delay_milliseconds,
            rust_timeout=round(self._resync_seconds * 1000),
            yield_on_timeout=True,
        )
        try:
            # Something may have changed between the last read and the start of the watch.
            yield None
            async for _ in changes:
                yield None
        except FileNotFoundError:
            await asyncio.sleep(self._resync_seconds)
            yield None
        finally:
            await changes.aclose()


def _inodes(roots: Iterable[Path]) -> dict[Path, int]:
    """Which of the roots are there, and which file or directory each is."""
    inodes = {}
    for root in roots:
        with suppress(OSError):
            inodes[root] = root.stat().st_ino
    return inodes


def _load(path: Path, text: bytes) -> list[tuple[str, Any]]:
    """All documents of a file with where each is, ``List`` objects opened."""
    if path.suffix == ".json":
        documents: Iterable[Any] = [msgspec.json.decode(text)]
    else:
        documents = yaml.load_all(text.decode(), Loader=_Loader)
    return [found for index, document in enumerate(documents) for found in _open(index, document)]


def _open(index: int, document: Any) -> Iterator[tuple[str, Any]]:
    where = f"document {index + 1}"
    if isinstance(document, dict) and isinstance(document.get("items"), list):
        kind = document.get("kind")
        if isinstance(kind, str) and kind.endswith("List"):
            for position, item in enumerate(document["items"]):
                yield f"{where} items[{position}]", _with_list_type(item, kind, document)
            return
    yield where, document


def _with_list_type(item: Any, list_kind: str, parent: Mapping[str, Any]) -> Any:
    """Items of a typed list (``PodList``) need not repeat their type."""
    if not isinstance(item, dict) or list_kind == "List" or "kind" in item:
        return item
    kind = list_kind.removesuffix("List")
    return {"apiVersion": parent.get("apiVersion"), "kind": kind, **item}


def _manifest_paths(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )


def _ignored(path: Path, where: str, document: Mapping[str, Any]) -> Iterator[Finding]:
    kind = document.get("kind")
    if not isinstance(kind, str) or not kind:
        yield _rejected(f"{path} {where}", "kind", "is missing", "add apiVersion and kind")
    elif identity_of(document) is None and kind not in IGNORED_KINDS:
        yield _rejected(f"{path} {where}", "metadata.name", "is missing", "add it")
    elif kind not in IGNORED_KINDS:
        yield Finding(
            UNKNOWN_KIND.id,
            f"{document.get('apiVersion', '')} {kind}".strip(),
            "",
            "objects of this kind mean nothing to the mesh",
            "check apiVersion and kind if they should",
            Severity.WARNING,
        )


def _rejected(subject: str, where: str, message: str, remedy: str) -> Finding:
    return Finding(UNREADABLE_OBJECT.id, subject, where, message, remedy)


def _duplicate(subject: str, second: str, first: str) -> Finding:
    return Finding(
        DUPLICATE_OBJECT.id,
        subject,
        "metadata.name",
        f"is defined again in {second}; the one in {first} is in force",
        "remove one of the two",
    )


def _position(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"


def _first_line(error: Exception) -> str:
    text = getattr(error, "problem", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
