"""Addresses, rules and routes of the node, by pyroute2."""
