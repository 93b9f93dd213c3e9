"""A real Kubernetes control plane on this machine, for the tests and the demo's cluster mode."""

from culvert.embedded.control_plane.plane import ControlPlane, ControlPlaneError

__all__ = ["ControlPlane", "ControlPlaneError"]
