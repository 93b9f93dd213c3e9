from __future__ import annotations

import pytest
from culvert.model.leader import ADDRESS_KEY, CERTIFICATE_KEY, Address, LeaderEntry


@pytest.mark.parametrize("address", [("10.1.2.3", 15443), ("fd00::3", 15443), None])
def test_entry_is_read_as_it_was_published(address: Address | None) -> None:
    entry = LeaderEntry("PEM", address)
    assert LeaderEntry.read(entry.data()) == entry


def test_address_is_published_as_in_a_url() -> None:
    assert LeaderEntry("PEM", ("fd00::3", 15443)).data()[ADDRESS_KEY] == "[fd00::3]:15443"
    assert LeaderEntry("PEM", ("10.1.2.3", 15443)).data()[ADDRESS_KEY] == "10.1.2.3:15443"


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_leader_that_listens_everywhere_publishes_no_address(everywhere: str) -> None:
    assert LeaderEntry.of("PEM", (everywhere, 15443)).data() == {CERTIFICATE_KEY: "PEM"}
    assert LeaderEntry.of("PEM", ("10.1.2.3", 15443)).address == ("10.1.2.3", 15443)


@pytest.mark.parametrize(
    "text",
    ["name:15443", "10.1.2.3", "10.1.2.3:0", "10.1.2.3:65536", "10.1.2.3:x", "fd00::3:15443", ":1"],
)
def test_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        LeaderEntry.read({CERTIFICATE_KEY: "PEM", ADDRESS_KEY: text})


def test_entry_without_a_certificate_is_refused() -> None:
    for data in ({}, {CERTIFICATE_KEY: ""}, {ADDRESS_KEY: "10.1.2.3:1"}):
        with pytest.raises(ValueError, match=r"ca\.crt"):
            LeaderEntry.read(data)
