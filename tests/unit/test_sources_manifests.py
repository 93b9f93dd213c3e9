from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from culvert.model.key import ObjectKey
from culvert.model.world import World
from culvert.sources.manifests import ManifestSource

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: {address}, ports: [{{port: 80}}]}}
"""


def service(name: str, address: str = "10.96.0.1") -> str:
    return SERVICE.format(name=name, address=address)


def names(world: World) -> list[str]:
    return sorted(key.name for key in world.services)


def codes(world: World) -> list[str]:
    return [finding.code for finding in world.findings]


def source(*roots: Path) -> ManifestSource:
    return ManifestSource(roots, quiet_milliseconds=10, resync_seconds=0.2)


def replace(path: Path, text: str) -> None:
    """As editors and kubectl do: never half a file."""
    temporary = path.with_name("." + path.name)
    temporary.write_text(text)
    temporary.rename(path)


class TestReading:
    def test_documents_lists_and_json_are_read_at_any_depth(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "a.yaml").write_text(service("a") + "---\n---\n" + service("b"))
        (tmp_path / "c.yml").write_text(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, "
            "metadata: {name: shop}}"
        )
        (tmp_path / "d.json").write_text(
            '{"apiVersion": "v1", "kind": "NodeList", "items": [{"metadata": {"name": "n"}}]}'
        )
        (tmp_path / ".hidden.yaml").write_text(service("hidden"))
        (tmp_path / "notes.txt").write_text("not a manifest")
        world = source(tmp_path).read()
        assert (names(world), list(world.namespaces), list(world.nodes)) == (
            ["a", "b"],
            ["shop"],
            ["n"],
        )
        assert world.findings == ()

    def test_file_that_turns_bad_keeps_its_last_good_objects(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(service("a"))
        reader = source(tmp_path)
        reader.read()
        (tmp_path / "a.yaml").write_text("kind: [\n")
        world = reader.read()
        assert names(world) == ["a"]
        (finding,) = world.findings
        assert finding.code == "CV0101"
        assert finding.subject == str(tmp_path / "a.yaml")
        assert finding.field == "line 2, column 1"
        (tmp_path / "a.yaml").write_text(service("b"))
        world = reader.read()
        assert (names(world), codes(world)) == (["b"], [])

    def test_document_that_turns_bad_keeps_its_last_version_and_others_change(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "a.yaml"
        file.write_text(service("a") + "---\n" + service("b", "10.96.0.2"))
        reader = source(tmp_path)
        reader.read()
        file.write_text(service("a", "nowhere") + "---\n" + service("b", "10.96.0.3"))
        world = reader.read()
        addresses = [s.cluster_addresses for _, s in sorted(world.services.items())]
        assert addresses == [("10.96.0.1",), ("10.96.0.3",)]
        (finding,) = world.findings
        assert (finding.code, finding.field) == ("CV0102", "spec.clusterIPs[0]")
        assert "document 1" in finding.message

    def test_bad_new_object_is_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(service("a", "nowhere") + "---\n" + service("b"))
        assert names(source(tmp_path).read()) == ["b"]

    @pytest.mark.parametrize(
        "text", [b"\xff\xfe\x00", b"\x00", b"a: &a [*a]\n", b"[" * 5000, b"!!python/object:a.b {}"]
    )
    def test_hostile_bytes_are_a_finding(self, tmp_path: Path, text: bytes) -> None:
        (tmp_path / "a.yaml").write_bytes(text)
        (tmp_path / "b.yaml").write_text(service("b"))
        world = source(tmp_path).read()
        assert names(world) == ["b"]
        assert len(world.findings) == 1

    def test_first_file_wins_over_a_duplicate(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(service("a", "10.96.0.1"))
        (tmp_path / "b.yaml").write_text(service("a", "10.96.0.2"))
        world = source(tmp_path).read()
        assert world.services[ObjectKey("shop", "a")].cluster_addresses == ("10.96.0.1",)
        assert codes(world) == ["CV0103"]

    def test_removed_file_takes_its_objects_with_it(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(service("a"))
        reader = source(tmp_path)
        reader.read()
        (tmp_path / "a.yaml").unlink()
        assert names(reader.read()) == []

    def test_missing_folder_keeps_what_was_read_from_it(self, tmp_path: Path) -> None:
        folder = tmp_path / "manifests"
        folder.mkdir()
        (folder / "a.yaml").write_text(service("a"))
        reader = source(folder)
        reader.read()
        folder.rename(tmp_path / "elsewhere")
        world = reader.read()
        assert (names(world), codes(world)) == (["a"], ["CV0105"])

    def test_unchanged_objects_keep_their_identity(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(service("a") + "---\n" + service("b"))
        reader = source(tmp_path)
        before = reader.read().services
        (tmp_path / "a.yaml").write_text(service("a") + "---\n" + service("b", "10.96.0.9"))
        after = reader.read().services
        kept = {key.name for key in before if before[key] is after[key]}
        assert kept == {"a"}

    def test_timestamps_stay_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(
            "apiVersion: v1\nkind: Namespace\n"
            "metadata: {name: shop, annotations: {}, labels: {made: 2026-01-02}}"
        )
        assert source(tmp_path).read().namespaces["shop"].labels == {"made": "2026-01-02"}


async def next_with(worlds: AsyncIterator[World], *want: str) -> World:
    async with asyncio.timeout(30):
        async for world in worlds:
            if names(world) == list(want):
                return world
    raise AssertionError("the source ended")


class TestWatching:
    async def test_changes_renames_and_removals_are_followed(self, tmp_path: Path) -> None:
        replace(tmp_path / "a.yaml", service("a"))
        async with aclosing(source(tmp_path).watch()) as worlds:
            await next_with(worlds, "a")
            replace(tmp_path / "b.yaml", service("b"))
            await next_with(worlds, "a", "b")
            replace(tmp_path / "a.yaml", service("c"))
            await next_with(worlds, "b", "c")
            (tmp_path / "b.yaml").unlink()
            await next_with(worlds, "c")

    async def test_folder_that_appears_later_is_read(self, tmp_path: Path) -> None:
        folder = tmp_path / "later"
        async with aclosing(source(folder).watch()) as worlds:
            assert codes(await next_with(worlds)) == ["CV0105"]
            folder.mkdir()
            (folder / "a.yaml").write_text(service("a"))
            assert codes(await next_with(worlds, "a")) == []

    async def test_folder_replaced_by_another_is_followed(self, tmp_path: Path) -> None:
        folder = tmp_path / "manifests"
        folder.mkdir()
        (folder / "a.yaml").write_text(service("a"))
        async with aclosing(source(folder).watch()) as worlds:
            await next_with(worlds, "a")
            folder.rename(tmp_path / "old")
            folder.mkdir()
            (folder / "b.yaml").write_text(service("b"))
            await next_with(worlds, "b")
            replace(folder / "c.yaml", service("c"))
            await next_with(worlds, "b", "c")
