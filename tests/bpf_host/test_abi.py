from __future__ import annotations

import ctypes
from pathlib import Path

from culvert.model.redirect import DestinationFlag, LocalFlag, PodFlag, ProxyListener
from culvert.redirect import abi
from culvert.redirect.source import bpf_directory

from tests.bpf_host.library import FACTS, layout


def test_every_structure_field_and_verdict_is_where_python_thinks(tmp_path: Path) -> None:
    seen = layout(tmp_path)
    expected = {"VERDICT_COUNT": len(abi.Verdict)}
    for name, mirror in {**abi.STRUCTURES, **FACTS}.items():
        expected[name] = ctypes.sizeof(mirror)
        for field in mirror._fields_:
            expected[f"{name}.{field[0]}"] = getattr(mirror, field[0]).offset
    expected |= {verdict.name: int(verdict) for verdict in abi.Verdict}
    expected |= {f"POD_{flag.name}": int(flag) for flag in abi.PodMapFlag}
    assert seen == expected


def test_enumerators_of_the_model_are_those_of_the_header() -> None:
    header = (bpf_directory() / "include" / "abi.h").read_text()
    for prefix, members in (
        ("CV_LISTENER_", ProxyListener),
        ("CV_POD_", PodFlag),
        ("CV_DESTINATION_", DestinationFlag),
        ("CV_LOCAL_", LocalFlag),
    ):
        for member in members:
            if member.name != "NONE":
                assert f"{prefix}{member.name} = {int(member)}," in header
