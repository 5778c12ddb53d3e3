"""The cores of one desk, made from its settings: the same for the desk that runs and for a replay of its journal."""

from __future__ import annotations

from typing import NamedTuple

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.desk.reference_data import assets_of
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.execution.core import ExecutionCore
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.risk.core import RiskCore


class DurableCores(NamedTuple):
    """The cores whose inputs are journaled."""

    risk: RiskCore
    matching: MatchingCore
    execution: ExecutionCore
    compliance: ComplianceCore
    agents: AgentsCore


def durable_cores(settings: DeskSettings) -> DurableCores:
    """Fresh cores. What they are made with is part of what the journal means, so a replay needs the same settings."""
    return DurableCores(
        risk=RiskCore(valuation_asset=settings.valuation_asset),
        matching=MatchingCore(),
        execution=ExecutionCore(),
        compliance=ComplianceCore(),
        agents=AgentsCore(valuation=assets_of(settings)[settings.valuation_asset]),
    )
