"""Logs of the long-running commands: one JSON object a line, on standard output."""

from __future__ import annotations

import logging

import structlog


def log_as_json(level: str) -> None:
    """Log from ``level`` (``debug``, ``info``, ``warning``, ``error``) upwards."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
    )
