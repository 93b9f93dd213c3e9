"""The demonstration: a mesh of two nodes under load, changed while it runs."""
