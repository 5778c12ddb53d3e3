"""What Prometheus is told about the agents."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from polaris_synapse.domain.messages import AgentStanding, DecisionRecorded
from polaris_synapse.domain.reasons import Reason

_PPM: Final = 1_000_000
_NS: Final = 1_000_000_000
_RETURNS: Final = (-0.05, -0.02, -0.01, -0.005, -0.002, 0.0, 0.002, 0.005, 0.01, 0.02, 0.05)


class AgentsMetrics:
    """Decisions, their confidence, the age of what they stood on, and how they turned out."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counter(
            "polaris_agents_decisions",
            "Decisions when they were made.",
            ("agent", "symbol", "view", "action", "reason"),
            registry=registry,
        )
        self._confidence = Histogram(
            "polaris_agents_confidence_ratio",
            "Confidence of decisions with a view.",
            ("agent",),
            buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
            registry=registry,
        )
        self._data_age = Histogram(
            "polaris_agents_data_age_seconds",
            "Age of the newest market data that a decision stood on.",
            ("agent",),
            buckets=(0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0),
            registry=registry,
        )
        self._scores = Histogram(
            "polaris_agents_score_ratio",
            "What views returned over their horizon after fees.",
            ("agent", "view"),
            buckets=_RETURNS,
            registry=registry,
        )
        self._outcomes = Counter(
            "polaris_agents_order_outcomes",
            "What became of proposals.",
            ("agent", "action", "reason"),
            registry=registry,
        )
        self._submissions = Counter(
            "polaris_agents_submissions", "Answers of order entry to proposals.", ("reason",), registry=registry
        )
        self._paused = Gauge("polaris_agents_paused", "1 while an agent is paused.", ("agent",), registry=registry)
        self._day_value = Gauge(
            "polaris_agents_mandate_used_units", "Used of today's mandate, in minor units.", ("agent",),
            registry=registry,
        )  # fmt: skip
        self._fallbacks = Counter(
            "polaris_agents_dropped_subscriptions", "Times that the room fell behind the bus.", registry=registry
        )

    def decision(self, decision: DecisionRecorded) -> None:
        """A decision or a revision of one."""
        agent = decision.agent
        if decision.revision == 0:
            reason = decision.reason.name
            self._decisions.labels(agent, decision.symbol, decision.view, decision.action, reason).inc()
            if decision.confidence_ppm:
                self._confidence.labels(agent).observe(decision.confidence_ppm / _PPM)
            mid = next((fact for fact in decision.facts if fact.name == "mid"), None)
            if mid is not None:
                self._data_age.labels(agent).observe((decision.decided_time_ns - mid.time_ns) / _NS)
        elif decision.score_ppm is not None and _is_score_revision(decision):
            self._scores.labels(agent, decision.view).observe(decision.score_ppm / _PPM)
        elif decision.order is not None:
            self._outcomes.labels(agent, decision.action, decision.reason.name).inc()

    def standing(self, standing: AgentStanding) -> None:
        """An agent as it is now."""
        self._paused.labels(standing.agent).set(standing.paused)
        self._day_value.labels(standing.agent).set(standing.day_value_units)

    def submission(self, reason: Reason) -> None:
        """Order entry answered."""
        self._submissions.labels(reason.name).inc()

    def fell_behind(self) -> None:
        """The bus dropped a subscription that was too slow."""
        self._fallbacks.inc()


def _is_score_revision(decision: DecisionRecorded) -> bool:
    """Whether this very revision brought the score: a later one of a slow order carries it along."""
    score = next((fact for fact in decision.facts if fact.name == "score" and fact.unit == "%"), None)
    return score is not None and score.time_ns == decision.time_ns
