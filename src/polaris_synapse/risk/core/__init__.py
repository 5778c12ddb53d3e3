"""The pure part of the risk room. ``RiskCore`` folds ``risk.inbox``."""

from polaris_synapse.risk.core.machine import RiskCore
from polaris_synapse.risk.core.state import Breaker

__all__ = ["Breaker", "RiskCore"]
