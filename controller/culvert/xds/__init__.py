"""Delta xDS: a pure session, its wire encoding, and the server that Envoy connects to."""
