"""The security context of a container, as options of setpriv(1); pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from culvert.rig.surroundings import NotStartableError

_DEFAULT_CAPABILITIES = (
    "audit_write",
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "mknod",
    "net_bind_service",
    "net_raw",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_chroot",
)
"""Of a container in containerd and Docker that asks for nothing."""


@dataclass(frozen=True, slots=True)
class Privileges:
    """What a container may do. ``capabilities`` None: all that this machine gives."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: tuple[str, ...] | None
    may_gain: bool
    read_only_root: bool

    def setpriv(self) -> list[str]:
        """Return the command that takes these on and becomes what follows it."""
        words = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}"]
        if self.groups:
            words.append("--groups=" + ",".join(str(group) for group in self.groups))
        else:
            words.append("--clear-groups")
        if self.capabilities is not None:
            kept = ",".join(f"+{name}" for name in self.capabilities)
            words += [f"--bounding-set=-all,{kept}".rstrip(","), "--inh-caps=-all"]
        if not self.may_gain:
            words.append("--no-new-privs")
        return words


def privileges_of(pod_spec: Mapping[str, Any], container: Mapping[str, Any]) -> Privileges:
    """Return what a container's security context asks for; what it leaves out, the pod's says.

    Raises:
        NotStartableError: it must not run as root, and would.
    """
    of_pod = pod_spec.get("securityContext") or {}
    own = container.get("securityContext") or {}
    both = {**of_pod, **own}
    uid = int(both.get("runAsUser") or 0)
    if both.get("runAsNonRoot") and uid == 0:
        raise NotStartableError(
            "CreateContainerConfigError",
            f"container {container['name']} has runAsNonRoot and would run as root: set runAsUser",
        )
    groups = [int(group) for group in of_pod.get("supplementalGroups") or []]
    if of_pod.get("fsGroup") is not None:
        groups.append(int(of_pod["fsGroup"]))
    return Privileges(
        uid=uid,
        gid=int(both.get("runAsGroup") or 0),
        groups=tuple(groups),
        capabilities=None
        if own.get("privileged")
        else _capabilities(own.get("capabilities") or {}),
        may_gain=own.get("allowPrivilegeEscalation") is not False or bool(own.get("privileged")),
        read_only_root=bool(own.get("readOnlyRootFilesystem")),
    )


def _capabilities(asked: Mapping[str, Any]) -> tuple[str, ...] | None:
    add = {_name(name) for name in asked.get("add") or []}
    drop = {_name(name) for name in asked.get("drop") or []}
    if "all" in add:
        return None
    kept = set() if "all" in drop else set(_DEFAULT_CAPABILITIES) - drop
    return tuple(sorted(kept | add))


def _name(capability: str) -> str:
    return capability.lower().removeprefix("cap_")
