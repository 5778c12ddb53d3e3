"""The agents as the core last described them, for the API."""

from __future__ import annotations

from polaris_synapse.domain.messages import AgentStanding


class Roster:
    """The latest standing of each agent."""

    def __init__(self) -> None:
        self._standings: dict[str, AgentStanding] = {}

    def take(self, standing: AgentStanding) -> None:
        """Replace an agent's standing, unless a later one is known."""
        known = self._standings.get(standing.agent)
        if known is None or known.time_ns <= standing.time_ns:
            self._standings[standing.agent] = standing

    def get(self, agent: str) -> AgentStanding | None:
        """One agent's standing, None before the core has told it."""
        return self._standings.get(agent)

    def all(self) -> list[AgentStanding]:
        """Every agent's, by name."""
        return [standing for _, standing in sorted(self._standings.items())]
