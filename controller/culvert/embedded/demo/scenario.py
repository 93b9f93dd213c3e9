"""What the demonstration changes while traffic runs, when, and what that did; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from culvert.embedded.demo.cast import Cast
from culvert.embedded.demo.readings import Reading

ADDED_REPLICAS = 2


class Action(Enum):
    """One change."""

    SCALE = auto()
    DELETE_POD = auto()
    BREAK_MANIFEST = auto()
    REPAIR_MANIFEST = auto()
    EDIT_SERVICE = auto()
    KILL_AGENT = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """A change, at this share of the whole duration."""

    share: float
    action: Action
    text: str


def scenario(cast: Cast) -> tuple[Step, ...]:
    """The steps, in their order; those for which the manifests have no part are left out."""
    steps: list[Step] = []
    if cast.deployment is not None:
        name, count = cast.deployment.name, cast.replicas
        steps += [
            Step(0.10, Action.SCALE, f"{name} scaled from {count} to {count + ADDED_REPLICAS}"),
            Step(0.26, Action.DELETE_POD, f"a pod of {name} deleted, and replaced"),
        ]
    steps += [
        Step(0.42, Action.BREAK_MANIFEST, "a broken manifest appears"),
        Step(0.54, Action.REPAIR_MANIFEST, "it is repaired"),
    ]
    if cast.service is not None:
        text = f"Service {cast.service.name} gets session affinity"
        steps.append(Step(0.65, Action.EDIT_SERVICE, text))
    steps.append(Step(0.78, Action.KILL_AGENT, "agent killed with SIGKILL, later started again"))
    return tuple(steps)


@dataclass(frozen=True, slots=True)
class Event:
    """A step that was taken, and what clients saw from then to the next one.

    The counts of the reading in which it began are ``requests_before`` and ``failures_before``.
    """

    at_seconds: float
    text: str
    requests_before: int
    failures_before: int
    requests: int = 0
    failures: int = 0
    done: bool = False

    def seen(self, reading: Reading) -> Event:
        """The same event after some more traffic."""
        return replace(
            self,
            requests=reading.requests - self.requests_before,
            failures=reading.failures - self.failures_before,
        )


def began(step: Step, at_seconds: float, reading: Reading) -> Event:
    """A step that is being taken."""
    return Event(at_seconds, step.text, reading.requests, reading.failures)


def manifest_with_typo(namespace: str, *, repaired: bool) -> str:
    """A Service whose port is no number, or is."""
    port = "80" if repaired else "eighty"
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: typo, namespace: {namespace}}}
spec:
  ports: [{{name: http, port: {port}}}]
"""
