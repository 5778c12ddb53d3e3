"""Polaris Synapse: one crypto trading desk, from a laptop's single process to seven services on a message bus."""

__version__ = "0.1.0"
