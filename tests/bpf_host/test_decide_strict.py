"""Which connections a pod takes that takes mutual TLS only."""

from __future__ import annotations

import ctypes
from ctypes import byref

import pytest
from culvert.redirect.abi import Verdict
from hypothesis import given
from hypothesis import strategies as st

from tests.bpf_host.library import StrictFacts

FIN, SYN, RST, PSH, ACK, URG = (1 << bit for bit in range(6))
byte = st.integers(0, 255)


@pytest.mark.parametrize(
    ("from_node", "loopback", "verdict"),
    [
        (0, 0, Verdict.STRICT_REFUSED),
        (1, 0, Verdict.STRICT_ALLOWED_NODE),
        (0, 1, Verdict.STRICT_ALLOWED_SELF),
        (1, 1, Verdict.STRICT_ALLOWED_NODE),
    ],
)
def test_only_the_node_and_the_pod_itself_are_let_in(
    decide: ctypes.CDLL, from_node: int, loopback: int, verdict: Verdict
) -> None:
    assert Verdict(decide.cv_decide_strict(byref(StrictFacts(from_node, loopback)))) is verdict


@given(flags=byte)
def test_connection_is_asked_for_by_syn_without_ack_whatever_else_is_set(
    decide: ctypes.CDLL, flags: int
) -> None:
    asks = bool(decide.cv_is_connection_request(ctypes.c_uint8(flags)))
    assert asks == (bool(flags & SYN) and not flags & ACK)


@given(header=byte, length=byte)
def test_extension_header_has_the_size_that_its_kind_gives_it(
    decide: ctypes.CDLL, header: int, length: int
) -> None:
    """RFC 8200 section 4, RFC 4302 section 2.2."""
    expected = {44: 8, 51: 4 * (length + 2)}
    expected |= dict.fromkeys((0, 43, 60, 135, 139, 140), 8 * (length + 1))
    size = decide.cv_extension_bytes(ctypes.c_uint8(header), ctypes.c_uint8(length))
    assert size == expected.get(header, 0)
