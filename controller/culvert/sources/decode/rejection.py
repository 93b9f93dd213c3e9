"""Mismatches between an object and its wire shape, in our words."""

from __future__ import annotations

import re

import msgspec

from culvert.sources.decode.error import DecodeError

_WITH_PATH = re.compile(r"(?s)(?P<message>.*) - at `(?:key in )?\$?\.?(?P<path>[^`]*)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")


def rejection(error: msgspec.ValidationError) -> DecodeError:
    """Put msgspec's wording of a mismatch into ours.

    It reads ``Expected `int`, got `str` - at `$.spec.ports[0].port` ``.
    """
    text = str(error)
    with_path = _WITH_PATH.fullmatch(text)
    message, path = (with_path["message"], with_path["path"]) if with_path else (text, "")
    missing = _MISSING.fullmatch(message)
    if missing:
        return DecodeError(".".join(filter(None, (path, missing["name"]))), "is missing", "add it")
    words = message.replace("`", "").replace(" | null", "")
    if re.match("Expected str, got (bool|int|float)", words):
        return DecodeError(path, words[:1].lower() + words[1:], "put the value in quotes")
    return DecodeError(
        path, words[:1].lower() + words[1:], "write a value of the type the Kubernetes API asks for"
    )
