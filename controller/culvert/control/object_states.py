"""How far each node is with one object, a byte for a node; pure."""

from __future__ import annotations

from culvert.model.report import ObjectState

_UNSPOKEN = 0
_CODES = {state: code for code, state in enumerate(ObjectState, start=1)}


class ObjectStates:
    """The states of all nodes for the newest generation that any node has reported.

    What a node has said of an older generation says nothing of this one.
    """

    __slots__ = ("_codes", "_counts", "_rejections", "generation")

    def __init__(self) -> None:
        self.generation = 0
        self._codes = bytearray()
        self._counts = [0] * (1 + len(ObjectState))
        self._rejections: dict[int, str] = {}

    @property
    def spoken(self) -> int:
        """Number of nodes that have said anything of this generation."""
        return sum(self._counts)

    def count(self, state: ObjectState) -> int:
        """Number of nodes in a state."""
        return self._counts[_CODES[state]]

    def first_rejection(self) -> tuple[int, str] | None:
        """Slot of the node that rejected it before others did, and why."""
        return next(iter(self._rejections.items()), None)

    def put(self, slot: int, generation: int, state: ObjectState, message: str) -> bool:
        """Note what a node says; return whether that is new."""
        if generation > self.generation:
            self.generation = generation
            self._codes = bytearray(len(self._codes))
            self._counts = [0] * len(self._counts)
            self._rejections.clear()
        if generation < self.generation:
            return self.clear(slot)
        if slot >= len(self._codes):
            self._codes.extend(bytes(slot + 1 - len(self._codes)))
        code, before = _CODES[state], self._codes[slot]
        is_new = code != before or self._rejections.get(slot, "") != message
        self._set(slot, code)
        if state is ObjectState.REJECTED:
            self._rejections[slot] = message
        else:
            self._rejections.pop(slot, None)
        return is_new

    def clear(self, slot: int) -> bool:
        """Forget what a node has said; return whether it had said anything."""
        if slot >= len(self._codes) or self._codes[slot] == _UNSPOKEN:
            return False
        self._set(slot, _UNSPOKEN)
        self._rejections.pop(slot, None)
        return True

    def _set(self, slot: int, code: int) -> None:
        before = self._codes[slot]
        if before != _UNSPOKEN:
            self._counts[before] -= 1
        if code != _UNSPOKEN:
            self._counts[code] += 1
        self._codes[slot] = code
