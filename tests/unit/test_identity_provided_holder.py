"""An operator exchanges the authority, and no certificate that holds loses its root."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
import structlog
from culvert.identity.authority import Authority, Lifetimes, write_signers
from culvert.identity.provided_holder import ProvidedHolder
from culvert.identity.trusted_roots import TrustedRoot, read_roots, trusted, write_roots
from culvert.identity.x509 import make_request, new_key
from culvert.model.identity import Identity
from culvert.model.refusal import RefusedError
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.certificates import certificates_of, is_trusted
from tests.unit.memory_store import MemoryStore
from tests.unit.operator_authority import DAY, START, files, make

CLERK = Identity("cluster.local", "shop", "clerk")
LIFETIMES = Lifetimes()
OLD, NEW = make("old"), make("new")
BEFORE = files(make("signing", OLD), roots=(OLD,))
AFTER = files(make("signing", NEW), roots=(NEW,))


@dataclass
class Leader:
    source: MemoryStore
    record: MemoryStore
    now: datetime = START
    holder: ProvidedHolder = field(init=False)

    def __post_init__(self) -> None:
        self.holder = ProvidedHolder(
            self.source, self.record, lambda: "cluster.local", LIFETIMES, clock=lambda: self.now
        )

    async def at(self, now: datetime) -> Leader:
        self.now = now
        await self.holder.look()
        return self

    @property
    def bundle(self) -> bytes:
        return self.holder.advance().bundle_pem

    def chain(self) -> bytes:
        return self.holder.advance().issue(make_request(new_key()), CLERK, self.now).chain_pem


def leader() -> Leader:
    return Leader(MemoryStore(dict(BEFORE), name="Secret culvert-system/cacerts"), MemoryStore())


async def test_what_is_provided_signs_at_once_where_nothing_was_before() -> None:
    one = await leader().at(START)
    assert is_trusted(one.chain(), OLD.pem, START)
    assert one.bundle == OLD.pem


async def test_exchanged_authority_signs_when_every_node_has_had_time_to_fetch_its_root() -> None:
    one = await leader().at(START)
    last_of_old = one.chain()
    one.source.put(AFTER)
    await one.at(START + DAY)
    assert set(certificates_of(one.bundle)) == {OLD.certificate, NEW.certificate}
    assert is_trusted(one.chain(), OLD.pem, one.now)
    await one.at(START + DAY + LIFETIMES.spread)
    assert is_trusted(one.chain(), NEW.pem, one.now)
    assert is_trusted(last_of_old, one.bundle, START + timedelta(hours=23))
    over = START + DAY + LIFETIMES.certificate + LIFETIMES.spread
    await one.at(over - timedelta(minutes=1))
    assert OLD.certificate in certificates_of(one.bundle)
    await one.at(over + timedelta(minutes=1))
    assert certificates_of(one.bundle) == [NEW.certificate]


async def test_new_leader_knows_the_roots_that_were_handed_out() -> None:
    one = await leader().at(START)
    one.source.put(AFTER)
    await one.at(START + DAY)
    another = await Leader(one.source, one.record).at(START + DAY + timedelta(minutes=1))
    assert set(certificates_of(another.bundle)) == {OLD.certificate, NEW.certificate}


async def test_root_that_is_announced_beforehand_signs_at_once() -> None:
    one = await leader().at(START)
    one.source.put(BEFORE | {"ca.crt": OLD.pem + NEW.pem})
    await one.at(START + DAY)
    one.source.put(AFTER | {"ca.crt": OLD.pem + NEW.pem})
    await one.at(START + 2 * DAY)
    assert is_trusted(one.chain(), NEW.pem, one.now)


async def test_wrong_exchange_is_told_and_the_authority_before_it_stays_in_use() -> None:
    one = await leader().at(START)
    one.source.put(BEFORE | {"tls.key": NEW.key_pem})
    with structlog.testing.capture_logs() as lines:
        for _ in range(2):
            assert not await one.holder.look()
    (line,) = lines
    assert "Secret culvert-system/cacerts: tls.key is not the key" in line["reason"]
    assert is_trusted(one.chain(), OLD.pem, START)


async def test_secret_that_is_not_there_is_told() -> None:
    one = Leader(MemoryStore(name="Secret culvert-system/cacerts"), MemoryStore())
    with structlog.testing.capture_logs() as lines:
        await one.at(START)
    assert "Secret culvert-system/cacerts: it does not exist; make it" in lines[0]["reason"]
    with pytest.raises(RefusedError, match="does not exist"):
        one.holder.advance()


async def test_authority_that_has_ended_issues_nothing() -> None:
    one = await leader().at(START)
    one.now = START + 101 * DAY
    with pytest.raises(RefusedError, match="has ended") as refused:
        one.holder.advance()
    assert refused.value.status == 503


async def test_roots_of_the_meshs_own_authority_are_trusted_on_when_one_is_provided() -> None:
    own = Authority("cluster.local", LIFETIMES).advanced(START)
    one = leader()
    one.record.put(write_signers(own.signers))
    await one.at(START + DAY)
    assert set(certificates_of(one.bundle)) == {*certificates_of(own.bundle_pem), OLD.certificate}
    assert one.record.files is not None
    assert not [name for name in one.record.files if name.endswith(".key")], "keys of no more use"
    await one.at(START + 3 * DAY)
    assert certificates_of(one.bundle) == [OLD.certificate]


async def test_roots_that_another_leader_remembers_meanwhile_are_read_before_anything_is_said() -> (
    None
):
    one = leader()
    others = [write_roots([TrustedRoot(NEW.certificate, START - DAY)])]
    one.record.before_write = lambda: one.record.put(others.pop()) if others else None
    assert not await one.holder.look()
    assert await one.holder.look()
    assert set(certificates_of(one.bundle)) == {OLD.certificate, NEW.certificate}


ROOTS = [make(f"root {number}").certificate for number in range(3)]
HOURS = timedelta(hours=1)


@given(st.lists(st.tuples(st.sets(st.sampled_from(ROOTS)), st.integers(0, 30)), max_size=12))
def test_root_is_handed_out_until_certificates_below_it_are_over(
    steps: list[tuple[set[object], int]],
) -> None:
    roots: tuple[TrustedRoot, ...] = ()
    now, keep = START, 25 * HOURS
    last_in_force: dict[object, datetime] = {}
    in_force: set[object] = set()
    for wanted, hours in steps:
        last_in_force |= dict.fromkeys(in_force, now)
        now, in_force = now + hours * HOURS, wanted
        roots = trusted(roots, in_force, now, keep)  # type: ignore[arg-type]
        assert read_roots(write_roots(roots)) == roots
        certificates = {one.certificate for one in roots}
        assert in_force <= certificates
        for root, seen in last_in_force.items():
            if root not in in_force and now - seen < keep:
                assert root in certificates
