"""What stands in for container images: local programs by image name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from culvert.rig.surroundings import NotStartableError


@dataclass(frozen=True, slots=True)
class Image:
    """A program of this machine in the place of an image.

    ``entrypoint`` and ``arguments`` are what ``command`` and ``args`` of a container override,
    as ENTRYPOINT and CMD of an image are (Kubernetes, "Define a Command and Arguments").
    """

    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


CULVERT = Image(entrypoint=(sys.executable, "-m", "culvert"))

DEFAULT_IMAGES: Mapping[str, Image] = {
    "culvert/agent": CULVERT,
    "culvert/controller": CULVERT,
    "culvert/envoy": Image(entrypoint=(str(Path(sys.executable).with_name("envoy")),)),
}
"""By name without registry, tag and digest, or by its last parts."""


def repository(image: str) -> str:
    """Return an image's name without tag and digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def find_image(image: str, images: Mapping[str, Image]) -> Image | None:
    """Return what stands in for an image: by its whole name, else by ever fewer last parts."""
    parts = repository(image).split("/")
    for first in range(len(parts)):
        found = images.get("/".join(parts[first:]))
        if found is not None:
            return found
    return None


def command_of(
    image: str, command: list[str], arguments: list[str], images: Mapping[str, Image]
) -> list[str]:
    """Return the words to run for a container.

    Raises:
        NotStartableError: nothing stands in for the image, and there is no command either.
    """
    stand_in = find_image(image, images) or Image()
    words = command or list(stand_in.entrypoint)
    # A command without args runs without the image's: they belong to its entrypoint.
    words = words + (arguments or ([] if command else list(stand_in.arguments)))
    if not words:
        raise NotStartableError(
            "ErrImagePull", f"images cannot be pulled here, and nothing stands in for {image!r}"
        )
    return words
