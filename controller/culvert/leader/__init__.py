"""How an agent reaches the controller that leads."""
