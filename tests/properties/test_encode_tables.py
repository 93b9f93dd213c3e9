from __future__ import annotations

from dataclasses import replace

from culvert.compile.redirect import compile_redirect_config
from culvert.model.redirect import (
    Destination,
    DestinationKey,
    LocalFlag,
    Pod,
    PodFlag,
    ProxyListener,
    RedirectConfig,
    RedirectTable,
    address16,
)
from culvert.model.settings import Settings
from culvert.redirect.encode import RECONCILED_MAPS, MapContents, TableEncoder, encode_table
from culvert.redirect.plan import diff
from hypothesis import given
from hypothesis import strategies as st

_ADDRESSES = [address16(text) for text in ("10.0.0.1", "10.0.0.2", "fd00::1")]
_CONFIG = compile_redirect_config(Settings())

configs = st.sampled_from([_CONFIG, replace(_CONFIG, budget_bytes=1, identity=True)])
keys = st.builds(DestinationKey, st.sampled_from(_ADDRESSES), st.sampled_from([0, 80]))
destinations = st.builds(Destination, st.sampled_from(ProxyListener))
pods = st.builds(
    Pod,
    st.just(PodFlag.CAPTURED),
    excluded_ports=st.frozensets(st.sampled_from([1, 2])),
    identity_number=st.sampled_from([0, 65535]),
)
tables = st.builds(
    RedirectTable,
    destinations=st.dictionaries(keys, destinations),
    pods=st.dictionaries(st.sampled_from([7, 8]), pods),
    local=st.dictionaries(st.sampled_from(_ADDRESSES), st.sampled_from(LocalFlag)),
    strict=st.dictionaries(keys, st.booleans()),
)


@given(st.lists(st.tuples(configs, tables), max_size=8))
def test_tables_encoded_one_after_another_are_as_each_encoded_alone(
    history: list[tuple[RedirectConfig, RedirectTable]],
) -> None:
    encoder = TableEncoder()
    have: MapContents = {name: {} for name in RECONCILED_MAPS}
    for config, table in history:
        want = encoder.encode(config, table)
        alone = encode_table(config, table)
        assert want == alone
        assert diff(have, want) == diff(
            have, {name: dict(entries) for name, entries in want.items()}
        )
        have = want


@given(configs, tables)
def test_contents_of_a_map_that_stay_are_the_same_object(
    config: RedirectConfig, table: RedirectTable
) -> None:
    encoder = TableEncoder()
    before = encoder.encode(config, table)
    equal = RedirectTable(
        dict(table.destinations),
        dict(table.pods),
        dict(table.local),
        dict(table.strict),
        dict(table.strict_pods),
    )
    after = encoder.encode(config, equal)
    assert all(after[name] is entries for name, entries in before.items())
