"""What is wrong with certificates, in words; pure."""

from __future__ import annotations

from dataclasses import dataclass

from culvert.identity import rotation
from culvert.identity.certificate import Certificate
from culvert.identity.rotation import Urgency
from culvert.identity.wire import UNREACHABLE
from culvert.model.codes import (
    CERTIFICATE_MISSING,
    CERTIFICATE_NOT_RENEWED,
    CERTIFICATE_REFUSED,
)
from culvert.model.finding import Finding, Severity
from culvert.model.identity import Identity

PATIENCE_SECONDS = 10.0
"""An identity that is new may be without a certificate for so long."""

_WORDS = {
    Urgency.OVERDUE: "its certificate should have been renewed by now",
    Urgency.ENDING: "its certificate ends soon",
    Urgency.EXPIRED: "its certificate has ended",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last request got nothing: one word, and a sentence."""

    reason: str
    message: str

    @property
    def is_refusal(self) -> bool:
        """Whether the authority answered, and will not issue this."""
        return self.reason in ("NotOnNode", "OtherTrustDomain", "BadRequest")


def finding_of(
    identity: Identity,
    certificate: Certificate | None,
    failure: Failure | None,
    wanted_since_seconds: float,
    now_seconds: float,
) -> Finding | None:
    """What is wrong with one identity at ``now_seconds``; times are UNIX seconds."""
    subject = f"ServiceAccount {identity.namespace}/{identity.service_account}"
    if certificate is not None:
        level = rotation.urgency(certificate.begins_seconds, certificate.ends_seconds, now_seconds)
        if level is Urgency.FINE:
            return None
        why = failure.message if failure is not None else "the request is under way"
        return Finding(
            CERTIFICATE_NOT_RENEWED.id,
            subject,
            "",
            f"{_WORDS[level]}: {why}",
            _remedy(failure),
            Severity.WARNING if level is Urgency.OVERDUE else Severity.ERROR,
        )
    if failure is None or now_seconds < wanted_since_seconds + PATIENCE_SECONDS:
        return None
    if failure.is_refusal:
        return Finding(
            CERTIFICATE_REFUSED.id,
            subject,
            "",
            f"the certificate authority refuses {identity}: {failure.message}",
            _remedy(failure),
        )
    return Finding(
        CERTIFICATE_MISSING.id,
        subject,
        "",
        f"{identity} has no certificate: {failure.message}",
        _remedy(failure),
    )


def _remedy(failure: Failure | None) -> str:
    if failure is not None and failure.reason == "OtherTrustDomain":
        return "give agents and the authority the same trust domain, in the MeshConfig"
    if failure is not None and failure.reason == UNREACHABLE:
        return "see whether the certificate authority runs and this node reaches it"
    return "see the log of the certificate authority"
