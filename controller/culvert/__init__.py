"""Culvert: a sidecarless service-mesh data plane and its controller."""

__version__ = "0.1.0"
