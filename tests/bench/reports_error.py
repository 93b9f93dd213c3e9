"""Why the measurement of reports ended before its end."""

from __future__ import annotations


class NotTakenError(Exception):
    """The intake refused a report, or ended; the message says why."""
