"""Each verdict names its reason: the counters are what an operator has to go by."""

from __future__ import annotations

import ctypes
from ctypes import byref

import pytest
from culvert.model.redirect import LocalFlag, PodFlag, ProxyListener
from culvert.redirect.abi import Config, ConfigFlag, Verdict
from hypothesis import given
from hypothesis import strategies as st

from tests.bpf_host.library import ConnectFacts, EnrolFacts, SendFacts

ON = Config(flags=ConfigFlag.ACCELERATE, budget_bytes=1 << 20, max_redirect_bytes=1 << 14)
CONNECT = {
    "pod_flags": PodFlag.CAPTURED,
    "has_destination": 1,
    "listener": ProxyListener.SERVICE_HTTP,
    "proxy_listens": 1,
    "proxy_has_family": 1,
}
SEND = {"size_bytes": 1, "write_seq": 7, "snd_una": 7, "peer_rcv_nxt": 7, "peer_copied_seq": 7}
ENROL = {
    "local_is_known": 1,
    "local_flags": LocalFlag.ACCELERATED,
    "remote_is_known": 1,
    "remote_flags": LocalFlag.ACCELERATED,
}
WORDS = st.integers(0, 2**32 - 1)


def names(value: object) -> str | None:
    return value.name.lower() if isinstance(value, Verdict) else ""


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, Verdict.CONNECT_REDIRECTED),
        ({"pod_flags": PodFlag.FAIL_OPEN}, Verdict.CONNECT_PASS_NOT_ENROLLED),
        ({"has_destination": 0}, Verdict.CONNECT_PASS_NO_DESTINATION),
        ({"listener": ProxyListener.DIRECT}, Verdict.CONNECT_PASS_DIRECT),
        # A newer agent's entry meets older programs.
        ({"listener": max(ProxyListener) + 1}, Verdict.CONNECT_PASS_DIRECT),
        ({"is_own_address": 1}, Verdict.CONNECT_PASS_SELF),
        ({"is_excluded_port": 1}, Verdict.CONNECT_PASS_EXCLUDED_PORT),
        ({"is_excluded_cidr": 1}, Verdict.CONNECT_PASS_EXCLUDED_CIDR),
        # The kernel then refuses it: no rule, and so no race, lies between.
        ({"proxy_listens": 0}, Verdict.CONNECT_REDIRECTED),
    ],
    ids=names,
)
def test_reason_of_a_connect(
    decide: ctypes.CDLL, changed: dict[str, int], verdict: Verdict
) -> None:
    facts = ConnectFacts(**{**CONNECT, **changed})
    assert Verdict(decide.cv_decide_connect(byref(facts))) is verdict


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, Verdict.SEND_REDIRECTED),
        ({"size_bytes": (1 << 14) + 1}, Verdict.SEND_TCP_LARGE),
        ({"write_seq": 8}, Verdict.SEND_TCP_UNACKED),
        ({"peer_copied_seq": 6}, Verdict.SEND_TCP_PEER_UNREAD),
        ({"peer_rcv_nxt": 6, "peer_copied_seq": 6}, Verdict.SEND_TCP_NOT_IN_SEQUENCE),
        ({"peer_rmem_bytes": 1 << 20}, Verdict.SEND_TCP_BUDGET),
    ],
    ids=names,
)
def test_reason_of_a_send(decide: ctypes.CDLL, changed: dict[str, int], verdict: Verdict) -> None:
    facts = SendFacts(**{**SEND, **changed})
    assert Verdict(decide.cv_decide_send(byref(ON), byref(facts))) is verdict


@given(flags=st.integers(0, 1), limit=WORDS, size=WORDS)
def test_what_is_decided_before_the_look_ups_holds_after_them(
    decide: ctypes.CDLL, flags: int, limit: int, size: int
) -> None:
    config = Config(flags=flags, budget_bytes=1, max_redirect_bytes=limit)
    facts = SendFacts(**{**SEND, "size_bytes": size})
    whole = decide.cv_decide_send(byref(config), byref(facts))
    assert decide.cv_decide_send_early(byref(config), ctypes.c_uint32(size)) == whole


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, Verdict.ENROL_DONE),
        ({"local_flags": LocalFlag.PROXY_SOURCE}, Verdict.ENROL_DONE),
        ({"local_is_known": 0}, Verdict.ENROL_SKIP_NOT_LOCAL),
        ({"remote_is_known": 0}, Verdict.ENROL_SKIP_NOT_LOCAL),
        ({"remote_flags": LocalFlag.PROXY_SOURCE}, Verdict.ENROL_SKIP_NOT_LOCAL),
        ({"local_flags": LocalFlag.NONE}, Verdict.ENROL_SKIP_OFF),
        ({"remote_flags": LocalFlag.NONE}, Verdict.ENROL_SKIP_OFF),
        ({"is_mptcp": 1}, Verdict.ENROL_SKIP_MPTCP),
        ({"is_accepting": 1}, Verdict.ENROL_SKIP_PEER_NOT_ENROLLED),
        ({"is_accepting": 1, "peer_is_enrolled": 1}, Verdict.ENROL_DONE),
    ],
    ids=names,
)
def test_reason_of_an_enrolment(
    decide: ctypes.CDLL, changed: dict[str, int], verdict: Verdict
) -> None:
    facts = EnrolFacts(**{**ENROL, **changed})
    assert Verdict(decide.cv_decide_enrol(byref(ON), byref(facts))) is verdict
