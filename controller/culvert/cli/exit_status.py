"""Exit statuses that several commands share."""

from __future__ import annotations

EXIT_MACHINE = 3
"""This machine cannot do what was asked."""

EXIT_LEADERSHIP_LOST = 4
"""A controller that led can no longer be sure that it is the only one; start it again."""
