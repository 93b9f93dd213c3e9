"""What simulated nodes report: all of them the same, as nodes of one cluster do. Pure."""

from __future__ import annotations

from culvert.model.report import NodeReport, ObjectId, ObjectReport, ObjectState, ReportedFinding

OBJECTS = 200
FINDINGS = 5
_TOKEN_CHARACTERS = 1100
"""About as many as a token of the API server for a pod has."""

EDITED = ObjectId("TrafficPolicy", "shop", "policy-0", "b0a8d5b1-6f0c-4c4e-9a53-000000000000")


def token_of(node: int) -> str:
    """The token that a node shows."""
    return f"{node}.".ljust(_TOKEN_CHARACTERS, "x")


def node_name(node: int) -> str:
    """By number."""
    return f"ip-10-0-{node // 256}-{node % 256}.eu-central-1.compute.internal"


def full_report(node: int) -> NodeReport:
    """The first of a session: everything, all of it programmed."""
    objects = (EDITED, *map(_object, range(1, OBJECTS)))
    return NodeReport(
        node=node_name(node),
        session_id=_session(node),
        sequence=1,
        objects=tuple(_programmed(one, 1) for one in objects),
        findings=tuple(map(_finding, range(FINDINGS))),
    )


def change_report(node: int) -> NodeReport:
    """The node has programmed the next generation of one object."""
    return NodeReport(
        node=node_name(node),
        session_id=_session(node),
        sequence=2,
        base=1,
        objects=(_programmed(EDITED, 2),),
    )


def heartbeat(node: int) -> NodeReport:
    """Nothing is new."""
    return NodeReport(node=node_name(node), session_id=_session(node), sequence=3, base=2)


def _session(node: int) -> str:
    return f"{node:032x}"


def _object(number: int) -> ObjectId:
    return ObjectId(
        EDITED.kind, EDITED.namespace, f"policy-{number}", f"{EDITED.uid[:-12]}{number:012}"
    )


def _programmed(key: ObjectId, generation: int) -> ObjectReport:
    return ObjectReport(*key, generation, ObjectState.PROGRAMMED)


def _finding(number: int) -> ReportedFinding:
    return ReportedFinding(
        code="CV0401",
        subject=f"Service shop/service-{number}",
        field="metadata.annotations[culvert.dev/protocol]",
        message="'htpp' is no protocol that the mesh knows, and the port is carried as bytes",
        remedy="use one of http, http2, grpc and tcp, or remove the annotation",
        severity="warning",
    )
