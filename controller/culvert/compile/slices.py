"""Endpoint slices by the Service they belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from culvert.model.endpoint import EndpointSlice
from culvert.model.key import ObjectKey


def slices_by_service(
    endpoint_slices: Mapping[ObjectKey, EndpointSlice],
) -> Mapping[ObjectKey, Sequence[EndpointSlice]]:
    """Endpoint slices by the Service they belong to, each in order of slice name."""
    grouped: defaultdict[ObjectKey, list[EndpointSlice]] = defaultdict(list)
    for _, part in sorted(endpoint_slices.items()):
        grouped[part.service_key].append(part)
    return grouped
