"""Real servers for tests: found, or started on loopback in temporary folders."""
