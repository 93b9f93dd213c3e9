"""The kernel's maps keep the contract that their in-memory twin keeps in the unit tests."""

from __future__ import annotations

import pytest
from culvert.model.redirect import (
    Destination,
    DestinationKey,
    LocalFlag,
    Pod,
    PodFlag,
    ProxyListener,
    RedirectTable,
    address16,
)
from culvert.redirect.encode import encode_table
from culvert.redirect.kernel import RedirectMaps
from culvert.redirect.memory import MemoryMaps
from culvert.redirect.plan import diff

from tests.kernel.data_path import DataPath

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("kind", ["kernel", "memory"])
def test_maps_hold_what_is_wanted_and_let_go_of_the_rest(data_path: DataPath, kind: str) -> None:
    maps: RedirectMaps = data_path.maps if kind == "kernel" else MemoryMaps()
    full = RedirectTable(
        destinations={
            DestinationKey(address16("10.96.0.1"), port): Destination(ProxyListener.SERVICE_TCP)
            for port in range(1, 200)
        },
        pods={
            number: Pod(
                PodFlag.CAPTURED,
                excluded_ports=frozenset({80, 443}),
                excluded_cidrs=frozenset({(address16("10.0.0.0"), 104)}),
            )
            for number in range(1, 50)
        },
        local={address16(f"10.0.0.{number}"): LocalFlag.ACCELERATED for number in range(1, 50)},
        strict={DestinationKey(address16("10.0.0.1"), port): port == 0 for port in range(50)},
    )
    for table in (full, RedirectTable(), full):
        want = encode_table(data_path.config, table)
        changes = diff(maps.read(), want)
        assert changes
        assert maps.unconfirmed(changes) == changes
        assert maps.apply(changes) == []
        assert maps.unconfirmed(changes) == []
        assert maps.read() == want
        assert diff(maps.read(), want) == []
