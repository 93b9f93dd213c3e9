"""Nodes of a rig that an API server drives: stand-ins for scheduler, kubelet and kube-proxy.

The API server is a real one, and so is the controller manager; what no machine without container
images can have is stood in for::

    API server ─> mirror ─┬─> scheduling ─> bindings
                          ├─> pod_object ─> the rig's kubelet ─> pod_report ─> status of pods
                          └─> kube_proxy rules of each node

Good for tests and demonstrations. Not a node: no images, no CSI, no resource limits, no eviction;
all containers of a machine see one PID namespace.
"""
