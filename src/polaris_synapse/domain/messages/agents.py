"""Agents: what they are told and what they decide. Facts are text made by code from integers, each with an id."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.domain.messages.base import Command, Message
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason


class AgentSettings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the deterministic analyst works. Rates in parts per million."""

    agent: str
    account: str
    symbols: tuple[str, ...]
    interval_seconds: int = 60
    confidence_ppm_min: int = 600_000
    position_ppm_of_equity_max: int = 100_000
    enabled: bool = True


class SetAgents(Command, frozen=True, kw_only=True, gc=False):
    """Set an agent up or change it."""

    settings: AgentSettings


class AgentControl(Command, frozen=True, kw_only=True, gc=False):
    """Pause or resume an agent."""

    agent: str
    paused: bool


class AnalyseNow(Command, frozen=True, kw_only=True, gc=False):
    """Ask an agent for a decision on a symbol at once."""

    agent: str
    symbol: str


class Fact(Struct, frozen=True, kw_only=True, gc=False):
    """One computed number that a thesis may cite. ``value`` is exact decimal text; ``source`` says from what."""

    fact_id: str
    name: str
    value: str
    unit: str = ""
    source: str = ""
    time_ns: int = 0


class ProposalMade(Message, frozen=True, kw_only=True, gc=False):
    """An agent wants this order; the shell hands it to the gateway like anybody's."""

    agent: str
    decision_id: str
    order: OrderRequest


class DecisionRecorded(Message, frozen=True, kw_only=True, gc=False):
    """A decision with all that led to it. ``view`` is BUY, SELL or HOLD; ``action`` what came of it.

    ``reason`` says why nothing was proposed, or NONE. ``thesis`` cites facts as ``[fact_id]``.
    Repeated with the order's id and state when its order changes; ``revision`` counts up from 0.
    """

    decision_id: str
    agent: str
    account: str
    symbol: str
    view: str
    confidence_ppm: int
    action: str
    thesis: str
    facts: tuple[Fact, ...]
    reason: Reason = Reason.NONE
    detail: str = ""
    order: OrderRequest | None = None
    order_id: int = 0
    order_state: str = ""
    revision: int = 0
