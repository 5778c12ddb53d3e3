"""What Prometheus is told about language models."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from polaris_synapse.agents.models.port import ModelAnswer


class ModelMetrics:
    """Answers, failures, tokens and money by purpose."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._answers = Counter(
            "polaris_models_answers", "Valid answers of language models.", ("purpose", "model"), registry=registry
        )
        self._failures = Counter(
            "polaris_models_failures",
            "Questions that a provider did not answer.",
            ("purpose", "provider", "kind"),
            registry=registry,
        )
        self._tokens = Counter(
            "polaris_models_tokens", "Tokens of valid answers.", ("purpose", "direction"), registry=registry
        )
        self._cost = Counter(
            "polaris_models_cost_micro_usd", "Price of valid answers in millionths of a dollar.", ("purpose",),
            registry=registry,
        )  # fmt: skip

    def answered(self, purpose: str, answer: ModelAnswer) -> None:
        """A valid answer came."""
        self._answers.labels(purpose, answer.model).inc()
        self._tokens.labels(purpose, "input").inc(answer.input_tokens)
        self._tokens.labels(purpose, "output").inc(answer.output_tokens)
        self._cost.labels(purpose).inc(answer.cost_micro_usd)

    def failed(self, purpose: str, provider: str, kind: str) -> None:
        """A provider gave none."""
        self._failures.labels(purpose, provider, kind).inc()
