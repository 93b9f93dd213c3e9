"""What can go wrong between us and the Kubernetes API, and how the API words a refusal."""

from __future__ import annotations

import msgspec


class ApiUnreachable(Exception):  # noqa: N818 - a state of the world, not a programming error
    """No answer, or a broken one: refused connection, TLS, timeout, cut stream."""


class AccessError(Exception):
    """There is no usable way to the API: a kubeconfig or service account that cannot be read.

    The message names the file and what to do.
    """


class ApiError(Exception):
    """The API answered with a refusal.

    ``status`` is the HTTP status (or the ``code`` of an ``ERROR`` watch event), ``reason`` the
    CamelCase reason of a ``metav1.Status`` (empty where the answer was none), and
    ``retry_after_seconds`` is what the server asked for, None where it did not ask.
    """

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    @property
    def is_expired(self) -> bool:
        """Whether a resourceVersion or a continue token is too old: list anew.

        Kubernetes, "API Concepts": 410 Gone, with the reason Expired or Gone.
        """
        return self.status == 410 or self.reason in ("Expired", "Gone")


class _Details(msgspec.Struct, rename="camel"):
    retry_after_seconds: int | None = None


class _Status(msgspec.Struct):
    """The part of ``metav1.Status`` that is read."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: _Details | None = None


_STATUS = msgspec.json.Decoder(_Status)
_MAX_MESSAGE_CHARACTERS = 500


def error_from_answer(
    body: bytes, http_status: int = 0, retry_after_header: str | None = None
) -> ApiError:
    """Read a refusal. ``http_status`` is 0 for the object of an ``ERROR`` watch event.

    The body need not be a Status: proxies in front of the API answer in words of their own.
    """
    try:
        status = _STATUS.decode(body)
    except msgspec.MsgspecError:
        text = body[:_MAX_MESSAGE_CHARACTERS].decode(errors="replace").strip()
        status = _Status(message=text)
    asked = status.details.retry_after_seconds if status.details else None
    return ApiError(
        http_status or status.code or 500,
        status.reason or "",
        status.message or "no message",
        _seconds(retry_after_header) if not asked else float(asked),
    )


def _seconds(header: str | None) -> float | None:
    """The API server sends whole seconds; the date form of RFC 9110 is not used by it."""
    return float(header) if header and header.isdecimal() else None
