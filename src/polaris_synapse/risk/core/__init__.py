"""The pure part of the risk room. ``RiskCore`` folds ``risk.inbox``."""

from polaris_synapse.compiled import compiled_folders

# Compiled modules, where they are there, come before their sources. So this stands before the first of them.
__path__ = [*compiled_folders(__name__), *__path__]

from polaris_synapse.risk.core.machine import RiskCore
from polaris_synapse.risk.core.state import Breaker

__all__ = ["Breaker", "RiskCore"]
