"""Roots that are handed out: those in force, and for a while those that were before; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509

from culvert.identity.x509 import certificate_pem

FILE = "trusted-roots.json"


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """``since`` is when it was handed out first; ``until`` is None while it is in force."""

    certificate: x509.Certificate
    since: datetime
    until: datetime | None = None


class _Entry(msgspec.Struct, omit_defaults=True):
    certificate: str
    since_seconds: float
    until_seconds: float | None = None


_DECODER = msgspec.json.Decoder(list[_Entry])


def trusted(
    before: Iterable[TrustedRoot],
    in_force: Iterable[x509.Certificate],
    now: datetime,
    keep: timedelta,
) -> tuple[TrustedRoot, ...]:
    """What is handed out now: ``before``, brought to this moment.

    A root that is no longer in force is handed out for ``keep`` more, if it holds so long.
    """
    roots = {one.certificate: one for one in before}
    wanted = set(in_force)
    for certificate in wanted:
        known = roots.get(certificate, TrustedRoot(certificate, now))
        roots[certificate] = replace(known, until=None)
    for certificate in roots.keys() - wanted:
        known = roots[certificate]
        until = min(known.until or now + keep, certificate.not_valid_after_utc)
        roots[certificate] = replace(known, until=until)
    kept = [one for one in roots.values() if one.until is None or one.until > now]
    return tuple(sorted(kept, key=lambda one: (one.since, certificate_pem(one.certificate))))


def write_roots(roots: Iterable[TrustedRoot]) -> dict[str, bytes]:
    """As files of a store. There is no key among them."""
    entries = [
        _Entry(
            certificate_pem(one.certificate).decode(),
            one.since.timestamp(),
            None if one.until is None else one.until.timestamp(),
        )
        for one in roots
    ]
    return {FILE: msgspec.json.encode(entries)}


def read_roots(files: Mapping[str, bytes]) -> tuple[TrustedRoot, ...]:
    """What ``write_roots`` wrote; nothing where the file is absent.

    Raises:
        ValueError: it holds something else.
    """
    if FILE not in files:
        return ()
    try:
        return tuple(
            TrustedRoot(
                x509.load_pem_x509_certificate(one.certificate.encode()),
                datetime.fromtimestamp(one.since_seconds, UTC),
                None if one.until_seconds is None else _time(one.until_seconds),
            )
            for one in _DECODER.decode(files[FILE])
        )
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise ValueError(f"{FILE} does not hold roots: {error}") from None


def _time(unix_seconds: float) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC)
