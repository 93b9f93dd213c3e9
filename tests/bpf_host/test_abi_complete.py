"""Nothing that the header declares is left out of its Python mirror."""

from __future__ import annotations

import re

import pytest
from culvert.model import redirect as model
from culvert.redirect import abi
from culvert.redirect.source import bpf_directory

from tests.bpf_host.library import FACTS

HEADERS = ("abi.h", "decide.h")
STRUCTURES = {**abi.STRUCTURES, **FACTS}
ENUMS = {
    "cv_verdict": ("CV_", abi.Verdict),
    "cv_listener": ("CV_LISTENER_", model.ProxyListener),
    "cv_config_flag": ("CV_CONFIG_", abi.ConfigFlag),
    "cv_pod_flag": ("CV_POD_", abi.PodMapFlag),
    "cv_destination_flag": ("CV_DESTINATION_", model.DestinationFlag),
    "cv_local_flag": ("CV_LOCAL_", model.LocalFlag),
}
"""C enum: what its names begin with, and the enum that has the rest of each name."""


def declared(kind: str) -> dict[str, str]:
    """Bodies of the ``struct`` or ``enum`` definitions, without comments, by name."""
    text = "\n".join((bpf_directory() / "include" / header).read_text() for header in HEADERS)
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    pattern = rf"^{kind} (\w+) {{(.*?)^}};"
    return dict(re.findall(pattern, text, re.DOTALL | re.MULTILINE))


def test_every_structure_has_a_mirror() -> None:
    assert set(declared("struct")) - {"cv_address"} == set(STRUCTURES)


@pytest.mark.parametrize("name", sorted(STRUCTURES))
def test_every_field_is_mirrored_in_its_order(name: str) -> None:
    in_c = re.findall(r"(\w+)(?:\[\w+\])?;", declared("struct")[name])
    assert [field[0] for field in STRUCTURES[name]._fields_] == in_c


def test_every_enum_has_a_mirror() -> None:
    assert set(declared("enum")) == set(ENUMS)


@pytest.mark.parametrize("name", sorted(ENUMS))
def test_every_enumerator_is_mirrored_with_its_value(name: str) -> None:
    prefix, mirror = ENUMS[name]
    in_c = {
        enumerator.removeprefix(prefix): int(value)
        for enumerator, value in re.findall(r"(\w+) = (\d+),", declared("enum")[name])
        if not enumerator.endswith("_COUNT")
    }
    in_python = {one: int(value) for one, value in mirror.__members__.items() if one != "NONE"}
    assert in_python == in_c
    assert in_c


def test_flags_of_a_pod_in_the_model_are_those_of_the_map() -> None:
    shared = {flag.name: int(flag) for flag in model.PodFlag if flag}
    assert shared.items() <= {flag.name: int(flag) for flag in abi.PodMapFlag}.items()
