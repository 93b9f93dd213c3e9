"""The whole mesh on one machine: an agent and an Envoy for each node of a rig."""
