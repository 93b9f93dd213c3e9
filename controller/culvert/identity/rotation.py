"""When a certificate is renewed, and how urgent that has become; pure."""

from __future__ import annotations

from enum import IntEnum

EARLIEST_FRACTION, LATEST_FRACTION = 0.5, 2 / 3
_FIRST_RETRY_SECONDS = 1.0
_MAX_RETRY_FRACTION = 0.05


class Urgency(IntEnum):
    """How near a certificate is to its end."""

    FINE = 0
    OVERDUE = 1
    """It should have been renewed, and has most of a third of its life left."""
    ENDING = 2
    """Less than an eighth of its life is left."""
    EXPIRED = 3


def renewal_seconds(begins_seconds: float, ends_seconds: float, jitter: float) -> float:
    """UNIX time of the renewal: between half and two thirds of the life.

    ``jitter`` from 0 to 1 spreads renewals of certificates that were issued together.
    """
    fraction = EARLIEST_FRACTION + (LATEST_FRACTION - EARLIEST_FRACTION) * jitter
    return begins_seconds + (ends_seconds - begins_seconds) * fraction


def retry_seconds(failures: int, life_seconds: float, jitter: float) -> float:
    """How long to wait after so many failures in a row: doubling, to a twentieth of the life."""
    limit = max(_FIRST_RETRY_SECONDS, min(life_seconds * _MAX_RETRY_FRACTION, 300.0))
    delay = min(_FIRST_RETRY_SECONDS * 2.0 ** max(0, min(failures, 30) - 1), limit)
    return delay * (0.5 + 0.5 * jitter)


def urgency(begins_seconds: float, ends_seconds: float, now_seconds: float) -> Urgency:
    """How near the end is."""
    life = ends_seconds - begins_seconds
    if now_seconds >= ends_seconds:
        return Urgency.EXPIRED
    if now_seconds > ends_seconds - life / 8:
        return Urgency.ENDING
    # Past the latest moment of renewal and a few tries.
    if now_seconds > begins_seconds + life * 0.75:
        return Urgency.OVERDUE
    return Urgency.FINE
