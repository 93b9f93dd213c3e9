"""The mesh's own authority in a store, and two leaders of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from culvert.identity.authority import Authority, Lifetimes, read_signers, write_signers
from culvert.identity.stored import ROOTS_SINCE, StoredAuthority
from culvert.identity.trusted_roots import TrustedRoot, write_roots
from culvert.identity.x509 import make_request, new_key
from culvert.kube.errors import ApiError, ApiUnreachable
from culvert.model.identity import Identity
from culvert.model.refusal import RefusedError

from tests.unit.certificates import certificates_of, is_trusted
from tests.unit.memory_store import MemoryStore

START = datetime(2030, 1, 1, tzinfo=UTC)
LIFETIMES = Lifetimes()
CLERK = Identity("cluster.local", "shop", "clerk")


@dataclass
class Leader:
    """One leader of a controller."""

    store: MemoryStore
    trust_domain: str | None = "cluster.local"
    now: datetime = START
    kept: StoredAuthority = field(init=False)

    def __post_init__(self) -> None:
        self.kept = StoredAuthority(
            self.store, lambda: self.trust_domain, LIFETIMES, clock=lambda: self.now
        )

    def chain(self) -> bytes:
        """Of a certificate that it issues now."""
        return self.kept.advance().issue(make_request(new_key()), CLERK, self.now).chain_pem


def own(now: datetime = START) -> dict[str, bytes]:
    return write_signers(Authority("cluster.local", LIFETIMES).advanced(now).signers)


async def test_first_leader_makes_the_keys_and_the_next_goes_on_with_them() -> None:
    store = MemoryStore()
    first, second = Leader(store), Leader(store)
    assert await first.kept.look()
    chain = first.chain()
    assert await second.kept.look()
    assert store.writes == 1
    assert is_trusted(chain, second.kept.advance().bundle_pem, START)
    assert is_trusted(second.chain(), first.kept.advance().bundle_pem, START)


async def test_of_two_leaders_that_are_first_one_alone_writes() -> None:
    store = MemoryStore()
    others = [own()]
    store.before_write = lambda: store.put(others.pop()) if others else None
    leader = Leader(store)
    assert not await leader.kept.look()
    with pytest.raises(RefusedError):
        leader.kept.advance()
    assert await leader.kept.look()
    assert store.writes == 0
    assert store.files is not None
    roots = [one.root for one in read_signers(store.files)]
    assert certificates_of(leader.kept.advance().bundle_pem) == roots


async def test_nothing_is_issued_before_the_keys_are_there() -> None:
    leader = Leader(MemoryStore(error=ApiUnreachable("away")))
    with pytest.raises(RefusedError, match="not been read yet") as refused:
        leader.kept.advance()
    assert (refused.value.status, refused.value.reason) == (503, "Unavailable")
    await leader.kept.look()
    with pytest.raises(RefusedError, match="away"):
        leader.kept.advance()


async def test_leader_that_has_the_keys_issues_on_while_the_api_server_is_away() -> None:
    store = MemoryStore()
    leader = Leader(store)
    await leader.kept.look()
    store.error = ApiUnreachable("away")
    assert not await leader.kept.look()
    assert leader.chain()


@pytest.mark.parametrize("content", [b"nonsense", b""])
async def test_damaged_keys_are_never_written_over(content: bytes) -> None:
    damaged = own() | {"root-0.key": content}
    store = MemoryStore(dict(damaged))
    leader = Leader(store)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            assert not await leader.kept.look()
    assert store.files == damaged
    (line,) = lines
    assert line["log_level"] == "error"
    assert "Secret culvert-system/store: root-0.key is not a key" in line["reason"]
    assert "restore it" in line["remedy"]
    with pytest.raises(RefusedError, match=r"root-0\.key"):
        leader.kept.advance()


async def test_right_that_is_missing_is_told_with_the_remedy() -> None:
    leader = Leader(MemoryStore(error=ApiError(403, "Forbidden", "no")))
    with structlog.testing.capture_logs() as lines:
        await leader.kept.look()
    assert "get, create and patch" in lines[0]["remedy"]


@pytest.mark.parametrize("left", [None, {}], ids=["deleted", "emptied"])
async def test_keys_that_somebody_took_away_are_written_again(
    left: dict[str, bytes] | None,
) -> None:
    store = MemoryStore()
    leader = Leader(store)
    await leader.kept.look()
    before = store.files
    store.put(left)
    assert await leader.kept.look()
    assert store.files == before


async def test_backup_that_is_restored_is_what_signs() -> None:
    store = MemoryStore()
    leader = Leader(store)
    await leader.kept.look()
    backup = own()
    store.put(backup)
    await leader.kept.look()
    (root,) = certificates_of(leader.kept.advance().bundle_pem)
    assert root == read_signers(backup)[0].root


async def test_annotation_has_the_roots_replaced_once() -> None:
    store = MemoryStore()
    leader = Leader(store)
    await leader.kept.look()
    old = leader.kept.advance().bundle_pem
    leader.now = START + timedelta(days=1)
    store.annotations[ROOTS_SINCE] = "2030-01-01T12:00:00Z"
    await leader.kept.look()
    both = leader.kept.advance().bundle_pem
    assert both.startswith(old)
    assert len(certificates_of(both)) == 2
    assert is_trusted(leader.chain(), old, leader.now), "the new one signs when all nodes have it"
    await leader.kept.look()
    assert store.writes == 2
    leader.now += LIFETIMES.spread
    await leader.kept.look()
    assert not is_trusted(leader.chain(), old, leader.now)
    leader.now += LIFETIMES.certificate + LIFETIMES.spread + timedelta(minutes=1)
    await leader.kept.look()
    assert len(certificates_of(leader.kept.advance().bundle_pem)) == 1
    assert store.files is not None
    assert len(read_signers(store.files)) == 1, "its key is gone, too"


@pytest.mark.parametrize("text", ["soon", "2030-01-01T12:00:00", ""])
async def test_annotation_that_is_no_time_changes_nothing(text: str) -> None:
    store = MemoryStore()
    leader = Leader(store)
    await leader.kept.look()
    leader.now = START + timedelta(days=1)
    store.annotations[ROOTS_SINCE] = text
    assert await leader.kept.look()
    assert store.writes == 1


async def test_new_trust_domain_is_issued_for_and_old_roots_stay() -> None:
    store = MemoryStore()
    leader = Leader(store, trust_domain=None)
    assert not await leader.kept.look()
    assert store.writes == 0, "the trust domain is not known yet"
    leader.trust_domain = "cluster.local"
    await leader.kept.look()
    old = leader.kept.advance().bundle_pem
    leader.trust_domain = "example.org"
    assert await leader.kept.look()
    assert leader.kept.advance().trust_domain == "example.org"
    assert leader.kept.advance().bundle_pem == old
    again = Leader(store, trust_domain="example.org")
    await again.kept.look()
    assert store.writes == 2, "the intermediate of the new trust domain is kept"


async def test_roots_of_an_authority_that_was_provided_are_trusted_for_a_while() -> None:
    provided = Authority("cluster.local", LIFETIMES).advanced(START)
    (root,) = certificates_of(provided.bundle_pem)
    leader = Leader(MemoryStore(write_roots([TrustedRoot(root, START)])))
    assert await leader.kept.look()
    assert root in certificates_of(leader.kept.advance().bundle_pem)
    leader.now += LIFETIMES.certificate + LIFETIMES.spread + timedelta(minutes=1)
    await leader.kept.look()
    assert root not in certificates_of(leader.kept.advance().bundle_pem)
