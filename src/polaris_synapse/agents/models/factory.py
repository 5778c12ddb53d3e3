"""Makes the desk's language model from settings, or none. Heavy imports happen here, and only where one is wanted."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from polaris_synapse.agents.models.budget import Budget
from polaris_synapse.agents.models.calls import CallStore
from polaris_synapse.agents.models.database import ModelDatabase
from polaris_synapse.agents.models.guarded import GuardedModel
from polaris_synapse.agents.models.metrics import ModelMetrics
from polaris_synapse.agents.models.raw import RawModel
from polaris_synapse.agents.models.settings import ModelsSettings
from polaris_synapse.bus.clock import Clock


class ModelsNotInstalledError(RuntimeError):
    """Providers are configured, and the packages that speak to them are not installed."""


class ModelRoom:
    """The language model with its budget and store. ``model`` is None where no provider is configured."""

    def __init__(
        self, settings: ModelsSettings, database: ModelDatabase, clock: Clock, registry: CollectorRegistry
    ) -> None:
        self.settings = settings
        self.database = database
        self.budget = Budget(self.database, settings.budget)
        self.store = CallStore(self.database, settings.store)
        self._vendors = vendor_models(settings) if settings.providers else []
        self.model: GuardedModel | None = None
        if self._vendors:
            self.model = GuardedModel(self._vendors, self.budget, self.store, clock, settings, ModelMetrics(registry))

    async def close(self) -> None:
        """End the connections and let go of the database."""
        for vendor in self._vendors:
            await vendor.close()
        await self.database.close()


def vendor_models(settings: ModelsSettings) -> list[RawModel]:
    """Every provider's model. Raises ModelsNotInstalledError where the extra ``llm`` is missing."""
    try:
        from polaris_synapse.agents.models.vendor import VendorModel
    except ImportError as error:
        raise ModelsNotInstalledError(
            "models.providers names language models, and the packages for them are not installed; "
            "install them with: pip install 'polaris-synapse[llm]', or take models.providers out."
        ) from error
    return [VendorModel(provider) for provider in settings.providers]
