"""The pure part of the agents room: indicators, views, sizing, grounding and scoring, in integers only."""

from polaris_synapse.agents.core.agents import AgentsCore

__all__ = ["AgentsCore"]
