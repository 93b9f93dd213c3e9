"""A Pod as the API server has it, as the rig's kubelet takes it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from culvert.rig.field import Field, InvalidFieldError
from culvert.rig.kube.images import Image, command_of
from culvert.rig.podspec import decode_template
from culvert.rig.rollout import PodWant
from culvert.rig.surroundings import NotStartableError

PodObject = Mapping[str, Any]
"""A Pod, decoded from JSON."""


def uid_of(pod: PodObject) -> str:
    """Return a pod's uid."""
    return str(pod["metadata"]["uid"])


def node_of(pod: PodObject) -> str:
    """Return the node a pod is bound to; empty when it is not."""
    return str(pod["spec"].get("nodeName") or "")


def deleting(pod: PodObject) -> bool:
    """Whether somebody asked for its end."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def ended(pod: PodObject) -> bool:
    """Whether it has run, and will not again."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def controller_of(pod: PodObject) -> str:
    """Return kind and name of the controller that owns it; empty for a bare pod."""
    for owner in pod["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            return f"{owner['kind']}/{owner['name']}"
    return ""


def pod_want(pod: PodObject, images: Mapping[str, Image]) -> PodWant:
    """Return what the rig's kubelet shall run.

    Raises:
        NotStartableError: it cannot run here; for good, since a pod's spec does not change.
    """
    metadata, spec = pod["metadata"], dict(pod["spec"])
    for name in ("containers", "initContainers"):
        spec[name] = [
            {
                **container,
                "command": command_of(
                    container.get("image") or "",
                    container.get("command") or [],
                    container.get("args") or [],
                    images,
                ),
                "args": [],
            }
            for container in spec.get(name) or []
        ]
    try:
        template = decode_template(
            Field(metadata, "metadata"), Field(spec, "spec"), lambda ignored: None, whole=True
        )
    except InvalidFieldError as error:
        raise NotStartableError("CreateContainerConfigError", str(error)) from error
    return PodWant(
        namespace=metadata["namespace"],
        name=metadata["name"],
        owner=controller_of(pod),
        template=template,
        uid=metadata["uid"],
    )
