"""Finding codes of the embedded cluster (see ``culvert.model.codes``)."""

from __future__ import annotations

from culvert.model.codes import Code

UNREADABLE_MANIFEST = Code(
    "CV0601",
    "A file of the demo's folder cannot be read as YAML or JSON",
    "The file's last good objects stay in force.",
)
INVALID_OBJECT = Code(
    "CV0602",
    "An object of the demo's folder is not valid",
    "The object's last good version stays in force; a new object is left out.",
)
REPEATED_OBJECT = Code(
    "CV0603",
    "An object of the demo's folder is defined more than once",
    "The first one, by file name and document, is in force.",
)
UNSUPPORTED_FIELD = Code(
    "CV0604",
    "A field of a pod means nothing to the embedded kubelet",
    "The field is ignored; the pod runs.",
)
CLUSTER_IP_TAKEN = Code(
    "CV0605",
    "Two Services ask for the same cluster IP",
    "The first one, by namespace and name, has it; the other has none.",
)
POD_NOT_STARTED = Code(
    "CV0606",
    "A pod could not be made",
    "It stays Pending; the others run.",
)
NO_NODE = Code(
    "CV0607",
    "No node fits a pod",
    "It is left out until one does.",
)

RIG_CODES: tuple[Code, ...] = (
    UNREADABLE_MANIFEST,
    INVALID_OBJECT,
    REPEATED_OBJECT,
    UNSUPPORTED_FIELD,
    CLUSTER_IP_TAKEN,
    POD_NOT_STARTED,
    NO_NODE,
)
