"""Who was refused, as the agent tells it."""

from __future__ import annotations

import socket

from culvert.model.redirect import address16
from culvert.redirect.abi import AddressBytes, RefusedKey
from culvert.redirect.refusals import Refusal, decode_refusal, most_refused


def test_refusal_is_read_with_its_port_in_host_order_and_ipv4_as_such() -> None:
    key = RefusedKey(
        source=AddressBytes.from_buffer_copy(address16("10.0.0.1")),
        address=AddressBytes.from_buffer_copy(address16("fd00::2")),
        port_be=socket.htons(8080),
    )
    value = (7).to_bytes(8, "little")
    assert decode_refusal(bytes(key), value) == Refusal("10.0.0.1", "fd00::2", 8080, 7)


def test_those_that_try_most_are_named_and_the_others_summed_up() -> None:
    refusals = [Refusal(f"10.0.0.{count}", "10.0.1.1", 80, count) for count in (2, 9, 4, 1)]
    shown, others = most_refused(refusals, 2)
    assert [one.count for one in shown] == [9, 4]
    assert others == 3


def test_order_of_equal_counts_does_not_depend_on_the_map() -> None:
    refusals = [Refusal("10.0.0.1", "10.0.1.1", port, 1) for port in (80, 81)]
    assert most_refused(refusals, 1) == most_refused(list(reversed(refusals)), 1)
