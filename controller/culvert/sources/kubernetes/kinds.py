"""Which kinds agents and controllers watch."""

from __future__ import annotations

from culvert.sources.decode import policies, policy_wire, wire
from culvert.sources.decode.objects import SERVICE_NAME_LABEL
from culvert.sources.kubernetes import trim
from culvert.sources.kubernetes.kind import Kind, by_name, decoder, the_only_one

POLICY_API = "/apis/culvert.dev/v1alpha1"

_UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"


def cluster_kinds() -> tuple[Kind, ...]:
    """What every node needs to know of the whole cluster."""
    return (
        Kind(
            name="Namespace",
            path="/api/v1/namespaces",
            decode=decoder("Namespace", wire.NamespaceObject, trim.namespace),
            field="namespaces",
            arrange=by_name,
        ),
        Kind(
            name="Node",
            path="/api/v1/nodes",
            decode=decoder("Node", wire.NodeObject, trim.node),
            field="nodes",
            arrange=by_name,
        ),
        Kind(
            name="Service",
            path="/api/v1/services",
            decode=decoder("Service", wire.ServiceObject, trim.service),
            field="services",
        ),
        Kind(
            name="EndpointSlice",
            path="/apis/discovery.k8s.io/v1/endpointslices",
            decode=decoder("EndpointSlice", wire.EndpointSliceObject, trim.endpoint_slice),
            field="endpoint_slices",
            # Slices that belong to no Service are somebody else's.
            label_selector=SERVICE_NAME_LABEL,
        ),
    )


def policy_kinds() -> tuple[Kind, ...]:
    """Objects of ``culvert.dev``; a server may be without their definitions."""
    return (
        Kind(
            name="MeshConfig",
            path=f"{POLICY_API}/meshconfigs",
            decode=decoder("MeshConfig", policy_wire.MeshConfigObject, policies.mesh_config),
            field="mesh_config",
            arrange=the_only_one,
            optional=True,
        ),
        Kind(
            name="TrafficPolicy",
            path=f"{POLICY_API}/trafficpolicies",
            decode=decoder(
                "TrafficPolicy", policy_wire.TrafficPolicyObject, policies.traffic_policy
            ),
            field="traffic_policies",
            optional=True,
        ),
        Kind(
            name="PeerAuthentication",
            path=f"{POLICY_API}/peerauthentications",
            decode=decoder(
                "PeerAuthentication",
                policy_wire.PeerAuthenticationObject,
                policies.peer_authentication,
            ),
            field="peer_authentications",
            optional=True,
        ),
        Kind(
            name="AuthorizationPolicy",
            path=f"{POLICY_API}/authorizationpolicies",
            decode=decoder(
                "AuthorizationPolicy",
                policy_wire.AuthorizationPolicyObject,
                policies.authorization_policy,
            ),
            field="authorization_policies",
            optional=True,
        ),
    )


def judging_kinds() -> tuple[Kind, ...]:
    """What decides about the objects of ``culvert.dev``, whatever node they are for."""
    without = "EndpointSlice"
    return (*(kind for kind in cluster_kinds() if kind.name != without), *policy_kinds())


def pod_kinds(node: str) -> tuple[Kind, ...]:
    """Pods of the node in full, those of all others as far as they can be reached."""
    return (
        Kind(
            name="Pod of other nodes",
            path="/api/v1/pods",
            decode=decoder("Pod", trim.RemotePod, trim.remote_pod),
            field="workloads",
            field_selector=f"spec.nodeName!={node},{_UNFINISHED}",
        ),
        Kind(
            name="Pod of this node",
            path="/api/v1/pods",
            decode=decoder("Pod", wire.PodObject, trim.local_pod),
            field="workloads",
            field_selector=f"spec.nodeName={node}",
        ),
    )


def agent_kinds(node: str) -> tuple[Kind, ...]:
    """Everything an agent of this node watches."""
    return (*cluster_kinds(), *policy_kinds(), *pod_kinds(node))
