"""The keeper against a real authority, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
import structlog
from culvert.identity.authority import Authority, Lifetimes
from culvert.identity.client import IssuerError
from culvert.identity.findings import PATIENCE_SECONDS
from culvert.identity.keeper import CertificateKeeper
from culvert.identity.wire import BundleAnswer, CertificateAnswer
from culvert.identity.x509 import make_request, new_key
from culvert.model.identity import Identity

from tests.unit.certificates import certificates_of, is_trusted, uris_of
from tests.unit.virtual_time import run

CLERK = Identity("cluster.local", "shop", "clerk")
COOK = Identity("cluster.local", "shop", "cook")
MANY = [Identity("cluster.local", "shop", f"account-{number}") for number in range(50)]
EPOCH_SECONDS = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
LIFE_SECONDS = 24 * 3600.0
LIFETIMES = Lifetimes()
AWAY = IssuerError("Unreachable", "nobody answers")
REFUSED = IssuerError("NotOnNode", "no pod on node a runs as it")


def now_seconds() -> float:
    return EPOCH_SECONDS + asyncio.get_running_loop().time()


@dataclass
class Issuer:
    """An authority that is a moment away; ``failure`` is what it does instead."""

    failure: IssuerError | None = None
    seconds: float = 0.01
    clock_ahead_seconds: float = 0.0
    spoil: Callable[[CertificateAnswer], CertificateAnswer] = lambda answer: answer
    authority: Authority = field(default_factory=lambda: Authority("cluster.local", LIFETIMES))
    asked: list[tuple[Identity, float]] = field(default_factory=list)
    bundles: int = 0
    under_way: int = 0
    most_under_way: int = 0

    async def issue(self, identity: Identity, request_pem: bytes) -> CertificateAnswer:
        self.asked.append((identity, now_seconds()))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            authority = await self._answer()
        finally:
            self.under_way -= 1
        issued = authority.issue(request_pem, identity, self._now())
        return self.spoil(
            CertificateAnswer(
                issued.chain_pem.decode(),
                authority.bundle_pem.decode(),
                issued.begins.timestamp(),
                issued.ends.timestamp(),
            )
        )

    async def bundle(self) -> BundleAnswer:
        self.bundles += 1
        authority = await self._answer()
        ahead = self.clock_ahead_seconds
        return BundleAnswer(authority.bundle_pem.decode(), now_seconds() + ahead)

    async def _answer(self) -> Authority:
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        self.authority = self.authority.advanced(self._now())
        return self.authority

    def _now(self) -> datetime:
        return datetime.fromtimestamp(now_seconds(), UTC)


@dataclass
class Running:
    issuer: Issuer
    keeper: CertificateKeeper
    changes: int = 0


def keeping(
    scenario: Callable[[Running], Awaitable[None]],
    issuer: Issuer | None = None,
    jitter: float = 0.5,
) -> None:
    """Run a keeper beside the scenario."""

    async def both() -> None:
        def changed() -> None:
            running.changes += 1

        it = issuer or Issuer()
        keeper = CertificateKeeper(it, changed, unix_seconds=now_seconds, jitter=lambda: jitter)
        running = Running(it, keeper)
        task = asyncio.create_task(keeper.run())
        try:
            await scenario(running)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    run(both())


def test_wanted_identities_get_certificates_that_peers_trust() -> None:
    async def scenario(running: Running) -> None:
        keeper = running.keeper
        keeper.want({CLERK, COOK})
        assert keeper.awaited == {CLERK, COOK}
        assert running.changes == 1, "that they are awaited is news"
        await asyncio.sleep(1)
        assert keeper.awaited == frozenset()
        for identity, one in keeper.certificates.items():
            assert uris_of(one.chain_pem) == [identity.spiffe_id]
            at = datetime.fromtimestamp(now_seconds(), UTC)
            assert is_trusted(one.chain_pem, keeper.bundle_pem, at)
        assert keeper.findings() == []
        assert (keeper.issued_total, keeper.failures_total) == (2, {})
        left = keeper.seconds_to_nearest_end()
        assert left is not None
        assert LIFE_SECONDS - 2 < left < LIFE_SECONDS

    keeping(scenario)


def test_every_certificate_has_a_key_of_its_own_that_is_not_printed() -> None:
    async def scenario(running: Running) -> None:
        running.keeper.want({CLERK, COOK})
        await asyncio.sleep(1)
        first = set(running.keeper.certificates.values())
        await asyncio.sleep(0.6 * LIFE_SECONDS)
        both = first | set(running.keeper.certificates.values())
        assert len({one.key_pem for one in both}) == 4
        for one in both:
            assert one.key_pem.decode().splitlines()[1] not in repr(one)

    with structlog.testing.capture_logs() as lines:
        keeping(scenario)
    assert "PRIVATE" not in repr(lines)


@pytest.mark.parametrize(("jitter", "part"), [(0.0, 1 / 2), (1.0, 2 / 3)])
def test_certificate_is_renewed_between_half_and_two_thirds_of_its_life(
    jitter: float, part: float
) -> None:
    async def scenario(running: Running) -> None:
        running.keeper.want({CLERK})
        await asyncio.sleep(LIFE_SECONDS)
        first, second, *_ = (at for _, at in running.issuer.asked)
        assert second - first == pytest.approx(part * LIFE_SECONDS, abs=60)

    keeping(scenario, jitter=jitter)


def test_identity_that_is_not_wanted_any_more_is_forgotten() -> None:
    async def scenario(running: Running) -> None:
        keeper = running.keeper
        keeper.want({CLERK, COOK})
        await asyncio.sleep(1)
        changes = running.changes
        keeper.want({COOK})
        assert set(keeper.certificates) == {COOK}
        assert running.changes == changes + 1
        keeper.want({COOK})
        assert running.changes == changes + 1
        await asyncio.sleep(LIFE_SECONDS)
        assert [one for one, _ in running.issuer.asked].count(CLERK) == 1

    keeping(scenario)


def test_identity_that_goes_while_its_certificate_is_under_way_stays_away() -> None:
    async def scenario(running: Running) -> None:
        running.keeper.want({CLERK, COOK})
        await asyncio.sleep(5)
        running.keeper.want({COOK})
        await asyncio.sleep(10)
        assert set(running.keeper.certificates) == {COOK}

    keeping(scenario, Issuer(seconds=8.0))


def test_certificates_that_come_together_are_told_of_once_and_few_are_asked_for_at_a_time() -> None:
    async def scenario(running: Running) -> None:
        running.keeper.want(MANY)
        await asyncio.sleep(1)
        assert len(running.keeper.certificates) == len(MANY)
        assert running.changes < 12
        assert running.issuer.most_under_way == 8

    keeping(scenario)


def test_failures_are_followed_by_tries_that_come_less_and_less_often() -> None:
    async def scenario(running: Running) -> None:
        running.keeper.want({CLERK})
        await asyncio.sleep(600)
        times = [at for _, at in running.issuer.asked]
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert pauses[0] < 2
        assert pauses[:5] == sorted(pauses[:5])
        assert 10 < pauses[-1] <= 31
        assert running.keeper.awaited == {CLERK}
        assert running.keeper.failures_total == {"Unreachable": len(times)}
        running.issuer.failure = None
        await asyncio.sleep(31)
        assert running.keeper.awaited == frozenset()

    keeping(scenario, Issuer(AWAY))


def test_what_cannot_be_had_is_told_once_and_that_it_can_be_had_again() -> None:
    async def scenario(running: Running) -> None:
        running.keeper.want(MANY)
        await asyncio.sleep(100)
        running.issuer.failure = None
        await asyncio.sleep(100)

    with structlog.testing.capture_logs() as lines:
        keeping(scenario, Issuer(AWAY))
    assert [line["event"] for line in lines if line["log_level"] != "debug"] == [
        "no certificate; trying again",
        "roots not fetched; trying again",
        "certificates are issued again",
    ]


def test_missing_certificate_is_a_finding_of_its_service_account_after_a_while() -> None:
    async def scenario(running: Running) -> None:
        running.keeper.want({CLERK})
        await asyncio.sleep(PATIENCE_SECONDS - 1)
        assert running.keeper.findings() == []
        await asyncio.sleep(2)
        (finding,) = running.keeper.findings()
        assert (finding.code, finding.subject) == ("CV0701", "ServiceAccount shop/clerk")
        assert "nobody answers" in finding.message
        running.issuer.failure = REFUSED
        await asyncio.sleep(60)
        (finding,) = running.keeper.findings()
        assert finding.code == "CV0703"
        assert "no pod on node a" in finding.message
        running.issuer.failure = None
        await asyncio.sleep(60)
        assert running.keeper.findings() == []

    keeping(scenario, Issuer(AWAY))


def test_certificate_that_cannot_be_renewed_is_kept_and_told_the_louder_the_nearer_its_end() -> (
    None
):
    async def scenario(running: Running) -> None:
        running.keeper.want({CLERK})
        await asyncio.sleep(1)
        (first,) = running.keeper.certificates.values()
        running.issuer.failure = AWAY
        told = []
        for _ in range(30):
            await asyncio.sleep(LIFE_SECONDS / 24)
            told += [
                (one.code, one.severity.value, one.message) for one in running.keeper.findings()
            ]
        assert {code for code, _, _ in told} == {"CV0702"}
        severities = [severity for _, severity, _ in told]
        assert severities == sorted(severities, reverse=True), "a warning first, then errors"
        assert "should have been renewed" in told[0][2]
        assert "has ended" in told[-1][2]
        assert running.keeper.certificates[CLERK] == first
        running.issuer.failure = None
        await asyncio.sleep(300)
        assert running.keeper.findings() == []

    keeping(scenario)


def test_roots_are_fetched_every_few_minutes_and_news_of_them_is_told() -> None:
    async def scenario(running: Running) -> None:
        keeper, issuer = running.keeper, running.issuer
        keeper.want({CLERK})
        await asyncio.sleep(3600)
        assert 3600 / 300 <= issuer.bundles <= 3600 / 150 + 1
        assert len(certificates_of(keeper.bundle_pem)) == 1
        changes = running.changes
        issuer.authority = issuer.authority.advanced(
            datetime.fromtimestamp(now_seconds(), UTC),
            roots_since=datetime.fromtimestamp(now_seconds() - 1, UTC),
        )
        await asyncio.sleep(301)
        assert len(certificates_of(keeper.bundle_pem)) == 2
        assert running.changes == changes + 1

    keeping(scenario)


def test_slow_authority_of_roots_holds_no_certificate_up() -> None:
    class Slow(Issuer):
        async def bundle(self) -> BundleAnswer:
            await asyncio.sleep(10_000)
            raise AWAY

    async def scenario(running: Running) -> None:
        await asyncio.sleep(1)
        running.keeper.want({CLERK})
        await asyncio.sleep(1)
        assert set(running.keeper.certificates) == {CLERK}
        assert running.keeper.bundle_pem, "it comes with every certificate"

    keeping(scenario, Slow())


OTHER = Authority("cluster.local", LIFETIMES).advanced(datetime(2030, 1, 1, tzinfo=UTC))


def issued_to(identity: Identity) -> CertificateAnswer:
    now = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=1)
    issued = OTHER.issue(make_request(new_key()), identity, now)
    return CertificateAnswer(issued.chain_pem.decode(), OTHER.bundle_pem.decode(), 0.0, 0.0)


def with_chain(chain: str) -> Callable[[CertificateAnswer], CertificateAnswer]:
    return lambda answer: msgspec.structs.replace(answer, chain=chain)


def with_bundle(bundle: str) -> Callable[[CertificateAnswer], CertificateAnswer]:
    return lambda answer: msgspec.structs.replace(answer, bundle=bundle)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda _: issued_to(CLERK), "it is for another key"),
        (with_chain(""), "its chain holds no certificate"),
        (with_bundle(""), "its bundle holds no certificate"),
        (with_bundle(OTHER.bundle_pem.decode()), "no root of its bundle is above it"),
    ],
    ids=["another's certificate", "no chain", "no roots", "roots of others"],
)
def test_answer_that_does_not_fit_never_gets_further(
    spoil: Callable[[CertificateAnswer], CertificateAnswer], words: str
) -> None:
    async def scenario(running: Running) -> None:
        running.keeper.want({CLERK})
        await asyncio.sleep(60)
        assert running.keeper.certificates == {}
        (finding,) = running.keeper.findings()
        assert words in finding.message
        assert set(running.keeper.failures_total) == {"Unusable"}

    keeping(scenario, Issuer(spoil=spoil))


def test_certificate_of_another_identity_is_not_taken() -> None:
    class Confused(Issuer):
        async def issue(self, _identity: Identity, request_pem: bytes) -> CertificateAnswer:
            return await super().issue(COOK, request_pem)

    async def scenario(running: Running) -> None:
        running.keeper.want({CLERK})
        await asyncio.sleep(60)
        assert running.keeper.certificates == {}
        assert "it is of spiffe://cluster.local/ns/shop/sa/cook" in str(
            running.keeper.findings()[0]
        )

    keeping(scenario, Confused())


@pytest.mark.parametrize(("ahead_seconds", "times"), [(0.0, 0), (29.0, 0), (-40.0, 1), (3600.0, 1)])
def test_clocks_that_differ_are_told_once(ahead_seconds: float, times: int) -> None:
    async def scenario(_running: Running) -> None:
        await asyncio.sleep(1200)

    with structlog.testing.capture_logs() as lines:
        keeping(scenario, Issuer(clock_ahead_seconds=ahead_seconds))
    assert len([line for line in lines if "clocks" in line["event"]]) == times


def test_authority_that_begins_anew_has_every_certificate_replaced_as_soon_as_it_is_known() -> None:
    async def scenario(running: Running) -> None:
        keeper, issuer = running.keeper, running.issuer
        keeper.want({CLERK, COOK})
        await asyncio.sleep(1)
        before = {one.serial for one in keeper.certificates.values()}
        issuer.authority = Authority("cluster.local", LIFETIMES)
        await asyncio.sleep(302)
        at = datetime.fromtimestamp(now_seconds(), UTC)
        for one in keeper.certificates.values():
            assert one.serial not in before
            assert is_trusted(one.chain_pem, keeper.bundle_pem, at)
        assert keeper.issued_total == 4

    keeping(scenario)


def test_authorities_that_disagree_are_not_asked_without_a_pause() -> None:
    class Two(Issuer):
        async def _answer(self) -> Authority:
            self.authority, self.other = self.other, await super()._answer()
            return self.other

        other = Authority("cluster.local", LIFETIMES)

    async def scenario(running: Running) -> None:
        running.keeper.want({CLERK, COOK})
        await asyncio.sleep(100)
        assert running.keeper.issued_total <= 2 * 200

    keeping(scenario, Two())
