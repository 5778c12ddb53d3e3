"""The execution core: the life of orders at venues, UNKNOWN outcomes, and breaks."""

from __future__ import annotations

from polaris_synapse.execution.core.engine import ExecutionCore
from polaris_synapse.execution.core.model import ExecutionRules

__all__ = ["ExecutionCore", "ExecutionRules"]
