"""Agents: what they are told and what they decide. Facts are text made by code from integers, each with an id."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from polaris_synapse.domain.messages.base import Command, Message
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason


class AgentSettings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the deterministic analyst works. Rates in parts per million.

    ``cooldown_seconds``: how long after an order the agent leaves a symbol alone. ``horizon_seconds``: how far ahead a
    view looks, and so when it is scored. ``slippage_ppm_max``: how much worse than the touch an order may fill.
    ``candle_seconds``: the length of the candles it measures; a first view takes twenty of them. ``model_roles``: which
    of the agents (``fact``, ``subjectivity``) also ask a language model before an order; without its valid answer
    within ``model_seconds_max`` there is none.
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
    model_roles: tuple[str, ...] = ()
    model_seconds_max: int = 20


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


class Vote(Struct, frozen=True, kw_only=True, gc=False):
    """One voice of a fusion. ``lean_ppm``: signed confidence, positive for buying; 0 says nothing.

    ``weight_ppm`` comes from its record on the symbol in this regime, in which ``right_ppm`` and ``wrong_ppm`` count
    independent trials in millionths.
    """

    voter: str
    lean_ppm: int
    weight_ppm: int
    right_ppm: int = 0
    wrong_ppm: int = 0


class Lesson(Struct, frozen=True, kw_only=True, gc=False):
    """What a scored decision taught, written by code. Known from ``learned_time_ns`` on and not a moment earlier."""

    decision_id: str
    symbol: str
    regime: str
    view: str
    score_ppm: int
    learned_time_ns: int
    text: str


class OpinionWanted(Message, frozen=True, kw_only=True, gc=False):
    """The agents' shell is to ask a language model once for each role, all at the same time, before ``deadline_ns``."""

    agent: str
    decision_id: str
    symbol: str
    roles: tuple[str, ...]
    deadline_ns: int
    facts: tuple[Fact, ...]
    lessons: tuple[Lesson, ...] = ()


class OpinionGiven(Message, frozen=True, kw_only=True, gc=False):
    """From the agents' shell: what a model answered for one role, or why there is no answer.

    ``output`` is the validated JSON text; the core reads and checks it again. ``call_digest`` finds the whole call in
    the store of calls. ``training_cutoff_ns``: 0 where nobody has said when the model's training ended.
    """

    agent: str
    decision_id: str
    role: str
    reason: Reason = Reason.NONE
    detail: str = ""
    output: str = ""
    model: str = ""
    call_digest: str = ""
    cost_micro_usd: int = 0
    training_cutoff_ns: int = 0


class DecisionCase(Message, frozen=True, kw_only=True, gc=False):
    """Everything one decision was made from, as canonical JSON, so that it can be made again. ``digest``: its sha256.

    The answers of language models are named by digest and stored with their calls.
    """

    decision_id: str
    case: str
    digest: str


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


class VoterRecord(Struct, frozen=True, kw_only=True, gc=False):
    """How reliable one voice has been on a symbol in a regime. Counts are independent trials in millionths."""

    symbol: str
    regime: str
    voter: str
    right_ppm: int
    wrong_ppm: int


class AgentStanding(Message, frozen=True, kw_only=True, gc=False):
    """An agent as it is now; after each change and every few seconds. ``day_value_units``: used of today's mandate.

    ``evidence_refused``: outside items that had no date or a date that cannot be, of all agents.
    """

    agent: str
    settings: AgentSettings
    paused: bool
    decisions_made: int = 0
    proposals_made: int = 0
    unscored: int = 0
    day_value_units: int = 0
    signals: tuple[SignalRecord, ...] = ()
    voters: tuple[VoterRecord, ...] = ()
    evidence_refused: int = 0


class DecisionRecorded(Message, frozen=True, kw_only=True, gc=False):
    """A decision with all that led to it. ``view`` is BUY, SELL or HOLD.

    ``action`` says what came of it: HELD, PROPOSED, NOT_PLACED, REFUSED, PLACED, FILLED, PARTLY_FILLED or UNFILLED.

    ``reason`` says why nothing was proposed, or NONE. ``thesis`` cites facts as ``[fact_id]``.
    Repeated with the order's id and state when its order changes, and with ``score_ppm`` when its horizon has passed:
    what the view would have returned after fees, 0 for HOLD. ``revision`` counts up from 0 and ``time_ns`` is the
    revision's; ``decided_time_ns`` stays. ``votes`` is how the agents voted, ``lesson`` what the score taught.
    ``case_digest`` finds the inputs, ``call_digests`` the calls of language models and ``cost_micro_usd`` their price.
    ``not_evidence`` says why a result proves nothing, such as a model that was trained on what came after.
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
    votes: tuple[Vote, ...] = ()
    lesson: str = ""
    case_digest: str = ""
    call_digests: tuple[str, ...] = ()
    cost_micro_usd: int = 0
    not_evidence: str = ""


class SourceKind(StrEnum):
    """What kind of outside evidence a score was made from. Each kind is weighed by its own record."""

    NEWS = "news"
    SOCIAL = "social"
    NARRATIVE = "narrative"
    FUNDING = "funding"
    ONCHAIN = "onchain"


class SentimentScored(Message, frozen=True, kw_only=True, gc=False):
    """One outside item (a text, a thread, an index, a funding rate), read by an adapter and scored. Never its text.

    ``symbol`` is an instrument, or ``*`` for every one of them.
    ``score_ppm`` lies in -1,000,000..1,000,000, positive for a rising price; ``confidence_ppm`` in 0..1,000,000.
    ``source`` names the adapter. ``published_time_ns`` is when the item became public and may not be 0: an item
    without a date proves nothing about what was known when. ``seen_time_ns`` is when this desk first had it, or in
    recorded data when it could have had it. ``item_digest`` is the sha256 of the item as fetched, 64 hex digits; the
    same digest again with a later ``seen_time_ns`` is a repetition and counts once.
    """

    symbol: str
    source_kind: SourceKind
    source: str
    score_ppm: int
    confidence_ppm: int
    published_time_ns: int
    seen_time_ns: int
    item_digest: str


class OnchainObserved(Message, frozen=True, kw_only=True, gc=False):
    """One number of a chain (or another published series), scored like SentimentScored, with the number itself.

    ``value`` is exact decimal text in ``unit``, of the series ``metric`` for the period that ended at
    ``period_end_time_ns``. A series that is revised sends the new vintage as a new message with its own
    ``published_time_ns``; the old one stays what it was, so the past never learns of a revision.
    """

    symbol: str
    source: str
    metric: str
    value: str
    unit: str
    score_ppm: int
    confidence_ppm: int
    period_end_time_ns: int
    published_time_ns: int
    seen_time_ns: int
    item_digest: str
