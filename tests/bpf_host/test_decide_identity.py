"""Who may be taken for whom: the hand-off, and what the proxy is shown of a caller."""

from __future__ import annotations

import ctypes
import socket
from ctypes import byref

import pytest
from culvert.model.redirect import Address16, ProxyListener, address16
from culvert.redirect.abi import AddressBytes, Config, ConfigFlag, Original, Verdict
from hypothesis import given
from hypothesis import strategies as st

from tests.bpf_host.library import HandoffFacts

STORED, WRONG_SOURCE = Verdict.HANDOFF_STORED, Verdict.HANDOFF_WRONG_SOURCE
PROXY = address16("169.254.77.1")
flag = st.integers(0, 1)


@pytest.mark.parametrize(
    ("known", "own", "of_another", "verdict"),
    [
        (1, 1, 0, STORED),
        (1, 0, 0, WRONG_SOURCE),
        (1, 0, 1, WRONG_SOURCE),
        # The container starts before the cluster says which address its pod has.
        (0, 0, 0, STORED),
        (0, 0, 1, WRONG_SOURCE),
    ],
)
def test_address_that_is_not_the_pods_own_is_not_handed_off(
    decide: ctypes.CDLL, known: int, own: int, of_another: int, verdict: Verdict
) -> None:
    facts = HandoffFacts(known, own, of_another)
    on = Config(flags=ConfigFlag.IDENTITY | ConfigFlag.ACCELERATE)
    assert Verdict(decide.cv_decide_handoff(byref(on), byref(facts))) is verdict


@given(facts=st.tuples(flag, flag, flag), others=st.sampled_from([0, int(ConfigFlag.ACCELERATE)]))
def test_without_identities_every_connection_is_handed_off(
    decide: ctypes.CDLL, facts: tuple[int, int, int], others: int
) -> None:
    verdict = decide.cv_decide_handoff(byref(Config(flags=others)), byref(HandoffFacts(*facts)))
    assert Verdict(verdict) is STORED


@given(
    family=st.sampled_from([0, int(socket.AF_INET), int(socket.AF_INET6)]),
    number=st.integers(0, 65535),
    accepted=flag,
)
def test_only_an_accepted_captured_connection_has_a_number(
    decide: ctypes.CDLL, family: int, number: int, accepted: int
) -> None:
    original = Original(family=family, identity_number=number, is_accepted=accepted)
    shown = decide.cv_decide_peer_number(byref(original)) & 0xFFFF
    assert shown == (number if family and accepted else 0)


def test_connection_of_which_nothing_is_known_has_no_number(decide: ctypes.CDLL) -> None:
    assert decide.cv_decide_peer_number(None) & 0xFFFF == 0


@pytest.mark.parametrize("listener", [one for one in ProxyListener if one])
@pytest.mark.parametrize("address", [PROXY, address16("fd77::1"), address16("10.0.0.1")])
def test_captured_connections_end_at_the_listeners_of_the_proxys_addresses_only(
    decide: ctypes.CDLL, listener: ProxyListener, address: Address16
) -> None:
    config = Config(proxy4=_raw(PROXY), proxy6=_raw(address16("fd77::1")))
    config.listener_port_be[listener] = socket.htons(15001)
    ends = [
        bool(decide.cv_is_proxy_end(byref(config), address, ctypes.c_uint16(socket.htons(port))))
        for port in (15001, 15008)
    ]
    assert ends == [address != address16("10.0.0.1"), False]


def _raw(address: Address16) -> ctypes.Array[ctypes.c_uint8]:
    return AddressBytes.from_buffer_copy(address)
