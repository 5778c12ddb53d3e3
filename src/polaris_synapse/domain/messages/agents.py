"""Agents: what they are told and what they decide. Facts are text made by code from integers, each with an id."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.domain.messages.base import Command, Message
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason


class AgentSettings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the deterministic analyst works. Rates in parts per million.

    ``cooldown_seconds``: how long after an order the agent leaves a symbol alone. ``horizon_seconds``: how far ahead a
    view looks, and so when it is scored. ``slippage_ppm_max``: how much worse than the touch an order may fill.
    ``candle_seconds``: the length of the candles it measures; a first view takes twenty of them.
    """

    agent: str
    account: str
    symbols: tuple[str, ...]
    interval_seconds: int = 60
    confidence_ppm_min: int = 600_000
    position_ppm_of_equity_max: int = 100_000
    enabled: bool = True
    cooldown_seconds: int = 180
    horizon_seconds: int = 900
    slippage_ppm_max: int = 500
    candle_seconds: int = 60


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


class ProposalClosed(Message, frozen=True, kw_only=True, gc=False):
    """From the agents' shell: it could not place a proposal. TIMED_OUT means that an order may have come of it."""

    agent: str
    decision_id: str
    reason: Reason
    detail: str = ""


class SignalRecord(Struct, frozen=True, kw_only=True, gc=False):
    """How often a signal that spoke pointed the way the market then went. Overlapping horizons count each."""

    symbol: str
    signal: str
    right: int
    wrong: int


class AgentStanding(Message, frozen=True, kw_only=True, gc=False):
    """An agent as it is now; after each change and every few seconds. ``day_value_units``: used of today's mandate."""

    agent: str
    settings: AgentSettings
    paused: bool
    decisions_made: int = 0
    proposals_made: int = 0
    unscored: int = 0
    day_value_units: int = 0
    signals: tuple[SignalRecord, ...] = ()


class DecisionRecorded(Message, frozen=True, kw_only=True, gc=False):
    """A decision with all that led to it. ``view`` is BUY, SELL or HOLD.

    ``action`` says what came of it: HELD, PROPOSED, NOT_PLACED, REFUSED, PLACED, FILLED, PARTLY_FILLED or UNFILLED.

    ``reason`` says why nothing was proposed, or NONE. ``thesis`` cites facts as ``[fact_id]``.
    Repeated with the order's id and state when its order changes, and with ``score_ppm`` when its horizon has passed:
    what the view would have returned after fees, 0 for HOLD. ``revision`` counts up from 0 and ``time_ns`` is the
    revision's; ``decided_time_ns`` stays.
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
    score_ppm: int | None = None
    decided_time_ns: int = 0
