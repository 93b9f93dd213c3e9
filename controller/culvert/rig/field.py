"""Read fields out of a Kubernetes object of unknown shape, saying exactly what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class InvalidFieldError(ValueError):
    """A field does not hold what it must."""

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem
        self.remedy = remedy


class Field:
    """A value and the path to it, such as ``spec.ports[0].port``.

    Kubernetes treats a null field as an absent one, and so does this.
    """

    __slots__ = ("path", "value")

    def __init__(self, value: Any, path: str = "") -> None:
        self.value = value
        self.path = path

    def __bool__(self) -> bool:
        return self.value is not None

    def get(self, name: str) -> Field:
        """Return a member, absent when the object has none of this name."""
        if self.value is None:
            return Field(None, self._member(name))
        if not isinstance(self.value, dict):
            raise self.invalid("is not an object", "write a mapping")
        return Field(self.value.get(name), self._member(name))

    def items(self) -> Iterator[Field]:
        """Return the members of a list; none when it is absent."""
        if self.value is None:
            return
        if not isinstance(self.value, list):
            raise self.invalid("is not a list", "write a list")
        for index, value in enumerate(self.value):
            yield Field(value, f"{self.path}[{index}]")

    def text(self, default: str | None = None) -> str:
        """Return a string; absent without a default is invalid."""
        if self.value is None and default is not None:
            return default
        if self.value is None:
            raise self.invalid("is missing", "add it")
        if not isinstance(self.value, str):
            raise self.invalid(f"is {self.value!r}, not a string", "put it in quotes")
        return self.value

    def texts(self) -> tuple[str, ...]:
        """Return a list of strings."""
        return tuple(item.text() for item in self.items())

    def text_map(self) -> dict[str, str]:
        """Return a mapping of strings to strings."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.invalid("is not an object", "write a mapping")
        return {str(name): self.get(str(name)).text("") for name in self.value}

    def number(self, default: int | None = None, *, low: int = 0, high: int = 2**31 - 1) -> int:
        """Return an integer from ``low`` to ``high``; absent without a default is invalid."""
        if self.value is None and default is not None:
            return default
        if self.value is None:
            raise self.invalid("is missing", "add it")
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.invalid(f"is {self.value!r}, not a number", "write an integer")
        if not low <= self.value <= high:
            raise self.invalid(f"is {self.value}", f"use {low} to {high}")
        return self.value

    def flag(self, *, default: bool) -> bool:
        """Return a truth value."""
        if self.value is None:
            return default
        if not isinstance(self.value, bool):
            raise self.invalid(f"is {self.value!r}", "write true or false")
        return self.value

    def choice(self, default: str, *allowed: str) -> str:
        """Return one of some strings."""
        value = self.text(default)
        if value not in allowed:
            raise self.invalid(f"is {value!r}", f"use one of {', '.join(allowed)}")
        return value

    def invalid(self, problem: str, remedy: str) -> InvalidFieldError:
        """Return the error to raise about this field."""
        return InvalidFieldError(self.path, problem, remedy)

    def _member(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name
