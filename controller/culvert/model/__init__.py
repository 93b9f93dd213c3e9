"""Frozen values shared by every layer; no I/O, no clocks, no third-party clients."""
