"""The agent's side of reporting: what a node says to the controller, and how it gets there."""
