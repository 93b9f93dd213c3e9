from __future__ import annotations

from culvert.netlink.proxy_address import missing_addresses


def test_address_that_is_there_in_another_spelling_is_not_missing() -> None:
    have = ["127.0.0.1", "::1", "fd77:0:0::1"]
    assert missing_addresses(have, ["169.254.77.1", "fd77::1"]) == ["169.254.77.1"]


def test_nothing_is_added_where_everything_is_there() -> None:
    assert missing_addresses(["169.254.77.1"], ["169.254.77.1"]) == []
