"""The authority as it is at this moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from culvert.identity.authority import Authority, Issued
from culvert.model.identity import Identity

_log = structlog.get_logger(__name__)


class IssuingAuthority(Protocol):
    """A value that issues: the mesh's own authority, or one that an operator has provided."""

    @property
    def trust_domain(self) -> str:
        """The only one whose identities it issues for."""

    @property
    def bundle_pem(self) -> bytes:
        """All roots to trust."""

    @property
    def ends(self) -> datetime:
        """When it can issue no more."""

    def issue(self, request_pem: bytes, identity: Identity, now: datetime) -> Issued:
        """Make a certificate. Raises ``BadRequestError``."""


class Holder(Protocol):
    """Where the authority is kept."""

    def advance(self) -> IssuingAuthority:
        """The authority of this moment. Raises ``RefusedError`` (503) where there is none."""


@dataclass(slots=True)
class AuthorityHolder:
    """An authority in memory. ``trust_domain`` may be changed; the next certificates are of it."""

    authority: Authority
    trust_domain: str = ""
    changed: Callable[[Authority], None] = lambda _: None

    def __post_init__(self) -> None:
        self.trust_domain = self.trust_domain or self.authority.trust_domain

    def advance(self) -> Authority:
        """Bring the authority to this moment; ``changed`` is told of one with other signers."""
        before = replace(self.authority, trust_domain=self.trust_domain)
        self.authority = before.advanced(datetime.now(UTC))
        if self.authority is not before:
            _log.info("certificate authority changed", roots=len(self.authority.signers))
            self.changed(self.authority)
        return self.authority
