"""Taking the whole data path off a node."""

from __future__ import annotations

from pathlib import Path

from culvert.redirect.abi import Config, ConfigFlag
from culvert.redirect.attach import uninstall
from culvert.redirect.encode import CONFIG
from culvert.redirect.syscall import Map

_SLOT_ZERO = bytes(4)


def remove_data_path(root: Path) -> list[str]:
    """Switch acceleration off, then detach and unpin everything below ``root``.

    Sockets that are enrolled keep their hooks until they close, and with acceleration off these
    choose TCP for every send; what was redirected before is read before what follows. Returns what
    was removed, one line each; a second call finds nothing.
    """
    for maps in root.glob("maps-*"):
        if not (maps / CONFIG).exists():
            continue
        opened = Map(str(maps / CONFIG))
        try:
            raw = opened.lookup(_SLOT_ZERO)
            if raw is not None:
                config = Config.from_buffer_copy(raw)
                config.flags &= ~ConfigFlag.ACCELERATE
                opened.update(_SLOT_ZERO, bytes(config))
        finally:
            opened.close()
    return uninstall(root)
