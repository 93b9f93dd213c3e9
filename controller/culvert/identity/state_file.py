"""An authority's state in a file that its owner alone may read, for a mesh without Kubernetes."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from culvert.identity.authority import Signer, read_signers, write_signers

_FILE = "authority.json"
_DECODER = msgspec.json.Decoder(dict[str, str])


def read_state(directory: Path) -> tuple[Signer, ...]:
    """Return the signers that were written there; none where nothing was.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds something else; the message names it.
    """
    path = directory / _FILE
    try:
        files = _DECODER.decode(path.read_bytes())
        return read_signers({name: text.encode() for name, text in files.items()})
    except FileNotFoundError:
        return ()
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(
            f"{path} is not the state of an authority: {error}; restore it, or delete it and "
            "restart every agent"
        ) from None


def write_state(directory: Path, signers: tuple[Signer, ...]) -> None:
    """Replace what is there, as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = {name: pem.decode() for name, pem in write_signers(signers).items()}
    partial = directory / f".{_FILE}.{os.getpid()}"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(files))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(directory / _FILE)
