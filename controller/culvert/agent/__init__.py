"""The agent of a node: the only place where sources, compiler, xDS server, maps and status meet."""
