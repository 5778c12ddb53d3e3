"""The desk's language models, made from its settings."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from polaris_synapse.agents.models.database import ModelDatabase
from polaris_synapse.agents.models.factory import ModelRoom, ModelsNotInstalledError
from polaris_synapse.bus.clock import Clock
from polaris_synapse.desk.loading import ConfigurationError
from polaris_synapse.desk.models_settings import models_settings
from polaris_synapse.desk.settings import DeskSettings


def model_room(settings: DeskSettings, database: ModelDatabase, clock: Clock, registry: CollectorRegistry) -> ModelRoom:
    """Models, budget and store. Raises ConfigurationError where a configured model cannot be spoken to."""
    found = models_settings(
        settings.models, openai_key=settings.openai_api_key, anthropic_key=settings.anthropic_api_key
    )
    try:
        return ModelRoom(found, database, clock, registry)
    except ModelsNotInstalledError as error:
        raise ConfigurationError(str(error)) from None
