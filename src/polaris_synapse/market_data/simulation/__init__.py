"""A seeded market of simulated traders on the desk's own order book."""
