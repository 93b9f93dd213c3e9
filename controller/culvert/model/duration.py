"""Durations as owners write them: ``1h30m``, ``15s``, ``250ms``."""

from __future__ import annotations

import re

_SECONDS_PER_UNIT = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_COMPONENT = re.compile(r"([0-9]{1,5})(h|ms|m|s)")
_DURATION = re.compile(rf"(?:{_COMPONENT.pattern}){{1,4}}")

DURATION_EXAMPLES = "15s, 1m30s or 250ms"


def parse_duration_seconds(text: str) -> float:
    """Seconds of a duration in the grammar of the Gateway API (GEP-2257).

    One to four components of at most five digits and a unit of ``h``, ``m``, ``s`` or ``ms``,
    added up. A plain ``0`` is allowed too.

    Raises:
        ValueError: ``text`` is not a duration.
    """
    if text == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        raise ValueError(f"'{text}' is not a duration")
    milliseconds = sum(
        int(count) * round(_SECONDS_PER_UNIT[unit] * 1000)
        for count, unit in _COMPONENT.findall(text)
    )
    return milliseconds / 1000
