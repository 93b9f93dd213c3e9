"""Exit statuses that several commands share."""

from __future__ import annotations

EXIT_MACHINE = 3
"""This machine cannot do what was asked."""
