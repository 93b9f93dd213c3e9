from __future__ import annotations

from ipaddress import ip_address

import pytest
from culvert.model.address import address_version, canonical_address, packed_address
from hypothesis import example, given
from hypothesis import strategies as st

_ALMOST = st.text(alphabet="0123456789.:abfx% ", max_size=20)
_TEXTS = st.one_of(st.ip_addresses().map(str), _ALMOST)


@given(_TEXTS)
@example("010.0.0.1")
@example("1.2.3")
@example("1.2.3.4 ")
@example("1.2.3.256")
@example("1.2.3.\u0664")
@example("::ffff:1.2.3.4")
@example("fe80::1%eth0")
@example("FD00:0::1")
@example("1.2.3.4\0")
@example("")
def test_addresses_are_those_of_the_standard_library(text: str) -> None:
    try:
        known = ip_address(text)
    except ValueError:
        for read in (packed_address, canonical_address, address_version):
            with pytest.raises(ValueError, match="address"):
                read(text)
        return
    assert packed_address(text) == known.packed
    assert canonical_address(text) == str(known)
    assert address_version(text) == known.version
