"""Labels and annotations under ``culvert.dev/``: what their owners ask of the mesh."""
