"""Numbers of identities: what the kernel can carry of a SPIFFE ID.

The kernel gives the proxy a connection with a number, and the proxy has a name for it. The two are
told of it one after the other; a number that meant somebody else a moment ago would, in between,
let one pod pass for another. So a number is not given anew until all others were.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec
import structlog

MAX_NUMBER = 65535
_FILE = "identity-numbers.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_log = structlog.get_logger(__name__)


class NumbersExhaustedError(Exception):
    """More identities are in use on this node than there are numbers."""


class _State(msgspec.Struct):
    """What the file holds; good until the machine starts anew, as the maps are."""

    boot: str
    numbers: dict[str, int] = {}
    last: int = 0


class IdentityNumbers:
    """Gives out numbers, and remembers them across restarts of the agent."""

    def __init__(self, directory: Path, in_maps: Collection[int] = ()) -> None:
        """Read what a predecessor gave out.

        ``in_maps`` are the numbers that the kernel knows now: where the predecessor's file is lost,
        they are not given out either.
        """
        self._path = directory / _FILE
        self._taken = frozenset(in_maps)
        boot = _BOOT_ID.read_text().strip()
        self._state = self._read(boot) or _State(boot)

    def assign(self, principals: Iterable[str]) -> dict[str, int]:
        """The numbers of these SPIFFE IDs and of no others, new ones where they have none.

        Written down before it returns.

        Raises:
            NumbersExhaustedError: there is no free number.
            OSError: the file cannot be written.
        """
        wanted = sorted(set(principals))
        new = [one for one in wanted if one not in self._state.numbers]
        for principal in new:
            self._state.numbers[principal] = self._next(wanted)
        if new:
            temporary = self._path.with_suffix(".new")
            temporary.write_bytes(msgspec.json.encode(self._state))
            temporary.replace(self._path)
        return {one: self._state.numbers[one] for one in wanted}

    def _next(self, wanted: Collection[str]) -> int:
        """The number after the last one given out, that of an identity long gone where all are."""
        holders = {number: name for name, number in self._state.numbers.items()}
        in_use = {self._state.numbers.get(name) for name in wanted}
        number = self._state.last
        for _ in range(MAX_NUMBER):
            number = number % MAX_NUMBER + 1
            if number in in_use or (number in self._taken and number not in holders):
                continue
            self._state.last = number
            if number in holders:
                del self._state.numbers[holders[number]]
            return number
        raise NumbersExhaustedError(f"{MAX_NUMBER} identities are in use on this node")

    def _read(self, boot: str) -> _State | None:
        try:
            state = msgspec.json.decode(self._path.read_bytes(), type=_State)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("identity numbers cannot be read; new ones are given", reason=str(error))
            return None
        return state if state.boot == boot else None
