"""The pure part of the agents room: indicators, views, sizing, grounding and scoring, in integers only."""

from polaris_synapse.compiled import compiled_folders

# Compiled modules, where they are there, come before their sources. So this stands before the first of them.
__path__ = [*compiled_folders(__name__), *__path__]

from polaris_synapse.agents.core.agents import AgentsCore

__all__ = ["AgentsCore"]
