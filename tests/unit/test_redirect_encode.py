from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from culvert.model.redirect import (
    ANY_PORT,
    Destination,
    DestinationFlag,
    DestinationKey,
    LocalFlag,
    Pod,
    PodFlag,
    ProxyListener,
    RedirectConfig,
    RedirectTable,
    address16,
    address_text,
)
from culvert.redirect import abi
from culvert.redirect.encode import (
    CONFIG,
    DESTINATIONS,
    EXCLUDED_CIDRS,
    EXCLUDED_PORTS,
    LOCAL,
    PODS,
    STRICT,
    encode_config,
    encode_table,
    shows_identity,
)
from hypothesis import given
from hypothesis import strategies as st

SETTINGS = RedirectConfig(
    proxy4=address16("169.254.77.1"),
    proxy6=None,
    listener_ports={ProxyListener.SERVICE_HTTP: 15001},
    accelerate=True,
    budget_bytes=7,
    max_redirect_bytes=9,
    pod_levels=(2, 4),
)


def test_config_holds_ports_in_network_order_and_a_missing_family_as_zero() -> None:
    value = abi.Config.from_buffer_copy(encode_table(SETTINGS, RedirectTable())[CONFIG][bytes(4)])
    assert bytes(value.proxy4) == address16("169.254.77.1")
    assert bytes(value.proxy6) == bytes(16)
    assert value.listener_port_be[ProxyListener.SERVICE_HTTP] == socket.htons(15001)
    assert (value.flags, value.budget_bytes, value.max_redirect_bytes) == (1, 7, 9)
    assert (value.pod_level_min, value.pod_level_max) == (2, 4)


@pytest.mark.parametrize(
    ("accelerate", "identity", "flags"),
    [(False, False, 0), (True, False, 1), (False, True, 2), (True, True, 3)],
)
def test_config_has_a_flag_for_each_feature(accelerate: bool, identity: bool, flags: int) -> None:
    config = encode_config(replace(SETTINGS, accelerate=accelerate, identity=identity))
    assert abi.Config.from_buffer_copy(config).flags == flags
    assert shows_identity(config) == identity


def test_pod_has_its_identity_number_in_its_entry() -> None:
    table = RedirectTable(pods={5: Pod(PodFlag.CAPTURED, identity_number=65535)})
    ((_, raw),) = encode_table(SETTINGS, table)[PODS].items()
    assert abi.Pod.from_buffer_copy(raw).identity_number == 65535


def test_whole_pods_come_before_what_may_be_left_out_of_a_full_map() -> None:
    address = address16("10.0.0.1")
    table = RedirectTable(
        strict={
            DestinationKey(address, 1): False,
            DestinationKey(address, 2): True,
            DestinationKey(address, ANY_PORT): True,
            DestinationKey(address16("10.0.0.0"), ANY_PORT): False,
        }
    )
    encoded = encode_table(SETTINGS, table)[STRICT]
    shown = [(key[:16], socket.ntohs(int.from_bytes(key[16:18], "little"))) for key in encoded]
    assert shown == [(address, 0), (address, 2), (address16("10.0.0.0"), 0), (address, 1)]
    assert [int.from_bytes(value, "little") for value in encoded.values()] == [1, 1, 0, 0]


def test_destination_is_keyed_by_address_and_port_in_network_order() -> None:
    key = DestinationKey(address16("10.96.0.1"), 80)
    entry = Destination(ProxyListener.SERVICE_TCP, DestinationFlag.FAIL_OPEN)
    encoded = encode_table(SETTINGS, RedirectTable(destinations={key: entry}))[DESTINATIONS]
    ((raw_key, raw_value),) = encoded.items()
    assert raw_key == address16("10.96.0.1") + b"\x00\x50" + bytes(2)
    assert raw_value == bytes((2, 1, 0, 0))


def test_pod_with_exclusions_has_them_in_maps_of_their_own_and_flags_that_say_so() -> None:
    pod = Pod(
        PodFlag.CAPTURED,
        (address16("10.0.0.1"), address16("fd00::1")),
        frozenset({443}),
        frozenset({(address16("10.1.0.0"), 112)}),
    )
    encoded = encode_table(SETTINGS, RedirectTable(pods={5: pod}))
    value = abi.Pod.from_buffer_copy(encoded[PODS][(5).to_bytes(8, "little")])
    assert value.flags == 1 | abi.PodMapFlag.EXCLUDES_PORTS | abi.PodMapFlag.EXCLUDES_CIDRS
    assert bytes(value.address4) == address16("10.0.0.1")
    assert bytes(value.address6) == address16("fd00::1")
    (port,) = (abi.ExcludedPortKey.from_buffer_copy(key) for key in encoded[EXCLUDED_PORTS])
    assert (port.cgroup_id, port.port_be) == (5, socket.htons(443))
    (cidr,) = (abi.ExcludedCidrKey.from_buffer_copy(key) for key in encoded[EXCLUDED_CIDRS])
    assert cidr.prefix_bits == 64 + 112
    assert bytes(cidr.network) == address16("10.1.0.0")


def test_local_address_carries_its_flag() -> None:
    table = RedirectTable(local={address16("10.0.0.1"): LocalFlag.PROXY_SOURCE})
    assert encode_table(SETTINGS, table)[LOCAL] == {
        bytes(address16("10.0.0.1")): (2).to_bytes(4, "little")
    }


@given(st.ip_addresses())
def test_address_survives_the_way_there_and_back(address: object) -> None:
    text = str(address)
    mapped = getattr(address, "ipv4_mapped", None)
    assert address_text(address16(text)) == str(mapped or address)


def test_text_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        address16("10.0.0")
