"""Faults made on purpose, and what must hold all the same: ``python -m polaris_synapse.testing.faults``."""
