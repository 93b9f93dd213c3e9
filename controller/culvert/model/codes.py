"""Every finding code, what it means and what to do: the source of ``docs/findings.md``.

Codes are stable. A code that is no longer raised stays listed as retired and is never reused.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """The stable part of a kind of finding."""

    id: str
    title: str
    effect: str
    """What still happens while the finding stands."""


UNREADABLE_FILE = Code(
    "CV0101",
    "A file cannot be read as YAML or JSON",
    "The objects of the file's last good version stay in force.",
)
UNREADABLE_OBJECT = Code(
    "CV0102",
    "A document is not a valid object of its kind",
    "The object's last good version stays in force; a new object is left out.",
)
DUPLICATE_OBJECT = Code(
    "CV0103",
    "An object is defined more than once",
    "The first one, by file name and document, is in force.",
)
UNKNOWN_KIND = Code(
    "CV0104",
    "Objects of this kind mean nothing to the mesh",
    "They are ignored.",
)
MISSING_FOLDER = Code(
    "CV0105",
    "A manifest folder or file does not exist",
    "The objects last read from it stay in force until it comes back.",
)
EXTERNAL_NAME = Code(
    "CV0201",
    "An ExternalName Service has no address of its own",
    "Its traffic is not captured.",
)
DUPLICATE_DESTINATION = Code(
    "CV0202",
    "Two Services claim the same address and port",
    "The first one, by namespace and name, takes the traffic.",
)
NO_CLUSTER_ADDRESS = Code(
    "CV0203",
    "A Service has no cluster IP yet",
    "Its traffic is not captured.",
)
UNKNOWN_APP_PROTOCOL = Code(
    "CV0204",
    "An appProtocol reserved by Kubernetes is not known",
    "The port is handled as opaque TCP.",
)
DUPLICATE_SERVICE_PORT = Code(
    "CV0205",
    "A Service lists the same TCP port twice",
    "The first one is in force.",
)
HEADLESS_PROTOCOL_CONFLICT = Code(
    "CV0206",
    "Headless Services disagree on the protocol of an endpoint",
    "The endpoint is handled as opaque TCP, which carries either.",
)
POLICY_TARGET_NOT_FOUND = Code(
    "CV0301",
    "A policy is for a Service, or a port of it, that does not exist",
    "The policy takes effect for its other targets, and for this one as soon as it is there.",
)
POLICY_CONFLICT = Code(
    "CV0302",
    "Two policies of the same kind are for the same target",
    "The older one, then the first by namespace and name, is in force.",
)
POLICY_WITHOUT_EFFECT = Code(
    "CV0303",
    "A policy is for a Service whose traffic the proxy does not route",
    "The policy takes effect for its other targets.",
)
POLICY_NOT_IMPLEMENTED = Code(
    "CV0304",
    "A policy is of a kind that has no effect yet",
    "The policy is checked and reported, and enforces nothing.",
)
POLICY_HALF_SEEN = Code(
    "CV0305",
    "A policy is about something that cannot be seen",
    "What cannot be seen allows nothing, and does not keep a DENY rule from refusing.",
)
POLICY_NOT_BINDING = Code(
    "CV0306",
    "A policy is for pods that take plain text past the mesh",
    "It judges callers of the mesh. Those outside of it reach the pod without being judged.",
)
INVALID_MESH_LABEL = Code(
    "CV0401",
    "A mesh label or annotation has an invalid value",
    "The default is in force in its place.",
)
UNKNOWN_ANNOTATION = Code(
    "CV0402",
    "An annotation or label under culvert.dev/ is not known here",
    "It is ignored.",
)
DUPLICATE_ADDRESS = Code(
    "CV0403",
    "Two running pods claim the same address",
    "Connections of that address are not accelerated.",
)
MAP_FULL = Code(
    "CV0404",
    "A map of the data path is full",
    "What did not fit is not captured or not accelerated; the rest is.",
)
ANNOTATION_WITHOUT_EFFECT = Code(
    "CV0405",
    "An annotation asks for what cannot be done here",
    "It is ignored for the ports that the finding names; the rest of the object is in effect.",
)
STRICT_NOT_ENFORCED = Code(
    "CV0406",
    "The kernel of a node cannot refuse plain text",
    "The node's pods take plain text, whatever policies say; nothing else is affected.",
)
PROXY_REJECTED_RESOURCE = Code(
    "CV0501",
    "The proxy rejected a resource",
    "It keeps the last good version; every other resource is in force.",
)
PROXY_REJECTED_REMOVAL = Code(
    "CV0502",
    "The proxy refused to remove a resource",
    "It keeps the stale resource; every other one is in force.",
)
PROXY_ASKED_FOR_UNKNOWN_TYPE = Code(
    "CV0503",
    "The proxy asks for a type of resource that is not served",
    "It gets an empty answer.",
)

CERTIFICATE_MISSING = Code(
    "CV0701",
    "An identity of this node has no certificate",
    "Connections of its pods to and from other nodes fail; those on the node go on.",
)
CERTIFICATE_NOT_RENEWED = Code(
    "CV0702",
    "A certificate was not renewed in time",
    "It is used until it ends; then connections to and from other nodes fail.",
)
CERTIFICATE_REFUSED = Code(
    "CV0703",
    "The certificate authority refuses an identity of this node",
    "Connections of its pods to and from other nodes fail; those on the node go on.",
)
CODES: tuple[Code, ...] = (
    UNREADABLE_FILE,
    UNREADABLE_OBJECT,
    DUPLICATE_OBJECT,
    UNKNOWN_KIND,
    MISSING_FOLDER,
    EXTERNAL_NAME,
    DUPLICATE_DESTINATION,
    NO_CLUSTER_ADDRESS,
    UNKNOWN_APP_PROTOCOL,
    DUPLICATE_SERVICE_PORT,
    HEADLESS_PROTOCOL_CONFLICT,
    POLICY_TARGET_NOT_FOUND,
    POLICY_CONFLICT,
    POLICY_WITHOUT_EFFECT,
    POLICY_NOT_IMPLEMENTED,
    POLICY_HALF_SEEN,
    POLICY_NOT_BINDING,
    INVALID_MESH_LABEL,
    UNKNOWN_ANNOTATION,
    DUPLICATE_ADDRESS,
    MAP_FULL,
    ANNOTATION_WITHOUT_EFFECT,
    STRICT_NOT_ENFORCED,
    PROXY_REJECTED_RESOURCE,
    PROXY_REJECTED_REMOVAL,
    PROXY_ASKED_FOR_UNKNOWN_TYPE,
    CERTIFICATE_MISSING,
    CERTIFICATE_NOT_RENEWED,
    CERTIFICATE_REFUSED,
)
