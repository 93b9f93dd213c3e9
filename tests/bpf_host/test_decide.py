"""The decisions against independent statements of what they should be."""

from __future__ import annotations

import ctypes
from ctypes import byref

from culvert.redirect.abi import Config, PodMapFlag, Verdict
from hypothesis import given
from hypothesis import strategies as st

from tests.bpf_host.library import ConnectFacts, EnrolFacts, SendFacts

flag = st.integers(0, 1)
sequence = st.integers(0, 2**32 - 1)


@given(
    pod=st.integers(0, 15),
    own=flag,
    port=flag,
    cidr=flag,
    proxy=flag,
    known=flag,
    listener=st.integers(0, 9),
    destination=flag,
    listens=flag,
    family=flag,
)
def test_captured_pod_never_reaches_a_known_destination_unless_something_allows_it(
    decide: ctypes.CDLL,
    pod: int,
    own: int,
    port: int,
    cidr: int,
    proxy: int,
    known: int,
    listener: int,
    destination: int,
    listens: int,
    family: int,
) -> None:
    facts = ConnectFacts(pod, own, port, cidr, proxy, known, listener, destination, listens, family)
    verdict = Verdict(decide.cv_decide_connect(byref(facts)))
    captured = bool(pod & PodMapFlag.CAPTURED)
    fail_open = bool(pod & PodMapFlag.FAIL_OPEN or destination)
    excused = (
        not captured or not known or not 1 <= listener <= 7 or bool(own) or bool(port) or bool(cidr)
    )
    passes = verdict.name.startswith("CONNECT_PASS")
    if captured and proxy:
        assert verdict is Verdict.CONNECT_DENY_PROXY_ADDRESS
    elif excused:
        assert passes
        assert verdict is not Verdict.CONNECT_PASS_FAIL_OPEN
    elif fail_open and not (listens and family):
        assert verdict is Verdict.CONNECT_PASS_FAIL_OPEN
    elif not family:
        assert verdict is Verdict.CONNECT_DENY_NO_PROXY_FAMILY
    else:
        assert verdict is Verdict.CONNECT_REDIRECTED


@given(
    accelerate=flag,
    limit=st.integers(0, 1 << 30),
    budget=st.integers(1, 1 << 30),
    size=st.integers(0, 1 << 30),
    sequences=st.lists(sequence, min_size=1, max_size=2),
    picks=st.tuples(*[st.integers(0, 1)] * 4),
    queued=st.integers(0, 1 << 30),
)
def test_send_is_redirected_exactly_when_nothing_can_be_overtaken(
    decide: ctypes.CDLL,
    accelerate: int,
    limit: int,
    budget: int,
    size: int,
    sequences: list[int],
    picks: tuple[int, int, int, int],
    queued: int,
) -> None:
    numbers = [sequences[pick % len(sequences)] for pick in picks]
    config = Config(flags=accelerate, max_redirect_bytes=limit, budget_bytes=budget)
    facts = SendFacts(size, *numbers, queued)
    verdict = Verdict(decide.cv_decide_send(byref(config), byref(facts)))
    safe = len(set(numbers)) == 1
    allowed = bool(accelerate) and size <= limit and queued < budget
    assert (verdict is Verdict.SEND_REDIRECTED) == (safe and allowed)


@given(facts=st.tuples(flag, st.integers(0, 3), flag, st.integers(0, 3), flag, flag, flag), on=flag)
def test_socket_is_enrolled_only_beside_a_proven_or_local_peer(
    decide: ctypes.CDLL, facts: tuple[int, ...], on: int
) -> None:
    known, own, remote_known, remote, accepting, peer, mptcp = facts
    verdict = Verdict(decide.cv_decide_enrol(byref(Config(flags=on)), byref(EnrolFacts(*facts))))
    if verdict is Verdict.ENROL_DONE:
        assert on
        assert known
        assert not mptcp
        assert peer if accepting else remote_known and remote == 1
        assert own & 1 if accepting else own
    else:
        assert verdict.name.startswith("ENROL_SKIP")


@given(local=st.binary(min_size=16, max_size=16))
def test_loopback_is_127_slash_8_in_mapped_form_and_one_in_ipv6(
    decide: ctypes.CDLL, local: bytes
) -> None:
    for address in (local, bytes(10) + b"\xff\xff" + local[:4], bytes(15) + local[:1]):
        mapped = address[:12] == bytes(10) + b"\xff\xff"
        expected = (mapped and address[12] == 127) or address == bytes(15) + b"\x01"
        assert bool(decide.cv_address_is_loopback(address)) == expected


@given(client=st.binary(min_size=16, max_size=16), pod=st.binary(min_size=16, max_size=16))
def test_client_is_credible_but_with_the_pods_own_address_or_loopback(
    decide: ctypes.CDLL, client: bytes, pod: bytes
) -> None:
    loopback = (bytes(15) + b"\x01", bytes(10) + b"\xff\xff" + b"\x7f" + client[:3])
    for address in (client, pod, *loopback):
        is_loopback = bool(decide.cv_address_is_loopback(address))
        expected = address != pod and not is_loopback
        assert bool(decide.cv_client_is_credible(address, pod)) == expected
