"""Options about identities, checked."""

from __future__ import annotations

from datetime import timedelta

import typer

from culvert.controller_authority import LONGEST_LIFETIME
from culvert.model.duration import DURATION_EXAMPLES, parse_duration_seconds
from culvert.model.identity import is_trust_domain

SHORTEST_LIFETIME = timedelta(minutes=10)
"""Agents look for new roots every five minutes at the latest."""


def parse_trust_domain(option: str, text: str) -> str:
    """A trust domain. Raises ``typer.BadParameter``."""
    if not is_trust_domain(text):
        raise typer.BadParameter(
            f"{option}: '{text}' is not a trust domain; use a domain of lower-case letters, "
            "digits, hyphens and dots"
        )
    return text


def parse_lifetime(option: str, text: str) -> timedelta:
    """How long certificates hold, from 10 minutes to 7 days. Raises ``typer.BadParameter``."""
    try:
        lifetime = timedelta(seconds=parse_duration_seconds(text))
    except ValueError:
        raise typer.BadParameter(
            f"{option}: '{text}' is not a duration; write it as {DURATION_EXAMPLES}"
        ) from None
    if not SHORTEST_LIFETIME <= lifetime <= LONGEST_LIFETIME:
        raise typer.BadParameter(f"{option}: '{text}' is out of range; use 10m to 168h")
    return lifetime
