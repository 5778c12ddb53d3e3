"""Where every message goes: one literal table from message type to topics.

A core's output is addressed by its type, so nothing can be sent to the wrong inbox. An *inbox* feeds one core and is
an ordered log; a *fact* topic is for anyone; a *command* topic is for one room's shell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from polaris_synapse.domain import messages as m
from polaris_synapse.domain.messages import Message

RISK: Final = "risk.inbox"
MATCHING: Final = "matching.inbox"
EXECUTION: Final = "execution.inbox"
COMPLIANCE: Final = "compliance.inbox"
MARKET_DATA: Final = "market_data.inbox"
AGENTS: Final = "agents.inbox"

ANSWERS: Final = "answers"
EXECUTIONS: Final = "executions"
TRADES: Final = "trades"
BOOKS: Final = "books"
#: Everything of markets, each symbol in order. The second topic repeats of it what money and safety depend on, for
#: those who need no more: marks, and the health of books.
MARKET_DATA_NORMALIZED: Final = "market_data.normalized"
MARKET_DATA_MARKS: Final = "market_data.marks"
TRADING_DECISIONS: Final = "trading.decisions"
COMPLIANCE_DECISIONS: Final = "compliance.decisions"
COMPLIANCE_ALERTS: Final = "compliance.alerts"
RISK_EVENTS: Final = "risk.events"
TRANSACTIONS_ALL: Final = "transactions.all"
AUDIT: Final = "audit"
SYSTEM_HEARTBEATS: Final = "system.heartbeats"
SENTIMENT_ANALYZED: Final = "sentiment.analyzed"
ONCHAIN_EVENTS: Final = "onchain.events"

VENUE_COMMANDS: Final = "venue.commands"
FEED_COMMANDS: Final = "feed.commands"
PROPOSALS: Final = "agents.proposals"
QUESTIONS: Final = "agents.questions"
DECISION_CASES: Final = "agents.cases"

#: Inboxes in the order in which one input's consequences are worked off.
INBOXES: Final = (RISK, MATCHING, EXECUTION, COMPLIANCE, MARKET_DATA, AGENTS)
#: Inboxes whose inputs are not journaled: a book is made afresh from its feed, never from the past.
VOLATILE_INBOXES: Final = frozenset({MARKET_DATA})
#: Topics that one room's shell acts on. After a restart they are not repeated: the cores ask again where they must.
COMMAND_TOPICS: Final = frozenset({VENUE_COMMANDS, FEED_COMMANDS, PROPOSALS, QUESTIONS})


class Route(Struct, frozen=True):
    """The topics of a message type and how its partition key is read from it."""

    topics: tuple[str, ...]
    key: Callable[[Message], str]


def _field(name: str) -> Callable[[Message], str]:
    def read(message: Message) -> str:
        return str(getattr(message, name))

    return read


def _everywhere(_: Message) -> str:
    return "*"


_account, _symbol = _field("account"), _field("symbol")

ROUTES: Final[dict[type[Message], Route]] = {
    m.Tick: Route((RISK, MATCHING, EXECUTION, COMPLIANCE, MARKET_DATA, AGENTS), _everywhere),
    m.HostStarted: Route((RISK, MATCHING, EXECUTION, COMPLIANCE, AGENTS), _everywhere),
    m.ListInstrument: Route((RISK, MATCHING, EXECUTION, COMPLIANCE, MARKET_DATA, AGENTS), _everywhere),
    m.SetInstrumentStatus: Route((RISK, MATCHING, COMPLIANCE), _symbol),
    m.Answer: Route((ANSWERS,), _field("request_id")),
    m.AuditNote: Route((COMPLIANCE,), _field("actor")),
    m.SubmitOrder: Route((RISK,), lambda message: message.order.account),  # type: ignore[attr-defined]  # SubmitOrder
    m.CancelOrder: Route((RISK,), _account),
    m.CancelAll: Route((RISK,), _account),
    m.ReplaceOrder: Route((RISK,), _account),
    m.SubmitOrderList: Route(
        (RISK,),
        lambda message: message.order_list.account,  # type: ignore[attr-defined]  # SubmitOrderList
    ),
    m.CancelOrderList: Route((RISK,), _account),
    m.OrderListUpdated: Route(
        (EXECUTIONS,),
        lambda message: message.order_list.request.account,  # type: ignore[attr-defined]  # OrderListUpdated
    ),
    m.OrderReport: Route((RISK,), _account),
    m.OrderUpdated: Route(
        (COMPLIANCE, AGENTS, EXECUTIONS),
        lambda message: message.order.request.account,  # type: ignore[attr-defined]  # OrderUpdated
    ),
    m.ExecutionRecorded: Route((COMPLIANCE, AGENTS, EXECUTIONS), _account),
    m.MoveFunds: Route((RISK,), _account),
    m.SetLimits: Route((RISK, COMPLIANCE), _account),
    m.SetMandate: Route(
        (RISK, COMPLIANCE, AGENTS),
        lambda message: message.mandate.account,  # type: ignore[attr-defined]  # SetMandate
    ),
    m.DecideApproval: Route((RISK,), _account),
    m.ApprovalChanged: Route(
        (COMPLIANCE, AGENTS, RISK_EVENTS),
        lambda message: message.approval.account,  # type: ignore[attr-defined]  # ApprovalChanged
    ),
    m.MandateChanged: Route(
        (RISK_EVENTS,),
        lambda message: message.mandate.account,  # type: ignore[attr-defined]  # MandateChanged
    ),
    m.LimitsChanged: Route((RISK_EVENTS,), _account),
    m.SetHoldingLimit: Route((RISK,), _account),
    m.HoldingLimitChanged: Route((COMPLIANCE, RISK_EVENTS), _account),
    m.SetFeeTiers: Route((RISK, COMPLIANCE), _account),
    m.FeeTierChanged: Route((RISK_EVENTS,), _account),
    m.ActivateBreaker: Route((RISK,), _everywhere),
    m.ResetBreaker: Route((RISK,), _everywhere),
    m.SetKillLevel: Route((RISK,), _everywhere),
    m.ReenableAccount: Route((RISK, COMPLIANCE), _account),
    m.LedgerPosted: Route((COMPLIANCE, TRANSACTIONS_ALL), _account),
    m.BalanceChanged: Route((AGENTS, RISK_EVENTS), _account),
    m.PositionChanged: Route((AGENTS, RISK_EVENTS), _account),
    m.AccountMetrics: Route((AGENTS, RISK_EVENTS), _account),
    m.BreakerChanged: Route((COMPLIANCE, RISK_EVENTS), _everywhere),
    m.SymbolStopped: Route((RISK,), _everywhere),
    m.KillLevelChanged: Route((COMPLIANCE, RISK_EVENTS), _everywhere),
    m.LimitBreached: Route((COMPLIANCE, RISK_EVENTS), _account),
    m.OpenAccount: Route((COMPLIANCE,), _account),
    m.ReviewKyc: Route((COMPLIANCE,), _account),
    m.SetSanctionsHold: Route((COMPLIANCE,), _account),
    m.SetAccountBlock: Route((COMPLIANCE,), _account),
    m.RestrictInstrument: Route((COMPLIANCE,), _account),
    m.ReviewAlert: Route((COMPLIANCE,), _field("alert_id")),
    m.SetComplianceRules: Route((COMPLIANCE,), _everywhere),
    m.AccountStanding: Route((RISK, COMPLIANCE_DECISIONS), _account),
    m.ComplianceAlert: Route((COMPLIANCE_ALERTS,), _account),
    m.AuditEntry: Route((AUDIT,), _everywhere),
    m.PlaceOrder: Route((MATCHING,), _symbol),
    m.PlaceOrderList: Route((MATCHING,), _symbol),
    m.RemoveOrder: Route((MATCHING,), _symbol),
    m.AmendOrder: Route((MATCHING,), _symbol),
    m.TradePrinted: Route((MARKET_DATA, TRADES), _symbol),
    m.BookChanged: Route((MARKET_DATA, BOOKS), _symbol),
    m.BookStatusChanged: Route((RISK, BOOKS, RISK_EVENTS), _symbol),
    m.ExecuteOrder: Route((EXECUTION,), _symbol),
    m.ExecuteOrderList: Route((EXECUTION,), _symbol),
    m.ExecuteCancel: Route((EXECUTION,), _symbol),
    m.ExecuteReplace: Route((EXECUTION,), _symbol),
    m.VenueSubmit: Route((VENUE_COMMANDS,), _symbol),
    m.VenueCancel: Route((VENUE_COMMANDS,), _symbol),
    m.VenueReplace: Route((VENUE_COMMANDS,), _symbol),
    m.VenueQuery: Route((VENUE_COMMANDS,), _symbol),
    m.VenueReport: Route((EXECUTION,), _symbol),
    m.VenueOrderStatus: Route((EXECUTION,), _symbol),
    m.VenueBalances: Route((EXECUTION,), _field("venue")),
    m.BreakChanged: Route((RISK, COMPLIANCE, RISK_EVENTS), _symbol),
    m.ResolveBreak: Route((EXECUTION,), _field("break_id")),
    m.ConfigureVenues: Route((EXECUTION,), _everywhere),
    m.BookSnapshotReceived: Route((MARKET_DATA,), _symbol),
    m.DepthReceived: Route((MARKET_DATA,), _symbol),
    m.TradeReceived: Route((MARKET_DATA,), _symbol),
    m.BookTickerReceived: Route((MARKET_DATA,), _symbol),
    m.FeedStatusChanged: Route((MARKET_DATA,), _symbol),
    m.BookUpdated: Route((MARKET_DATA_NORMALIZED,), _symbol),
    m.TopOfBook: Route((MARKET_DATA_NORMALIZED,), _symbol),
    m.MarketTrade: Route((MARKET_DATA_NORMALIZED,), _symbol),
    m.CandleClosed: Route(
        (MARKET_DATA_NORMALIZED,),
        lambda message: message.candle.symbol,  # type: ignore[attr-defined]  # CandleClosed
    ),
    m.BookHealthChanged: Route((MARKET_DATA_NORMALIZED, MARKET_DATA_MARKS), _symbol),
    m.Mark: Route((RISK, COMPLIANCE, MARKET_DATA_NORMALIZED, MARKET_DATA_MARKS), _symbol),
    m.MarketSummary: Route((AGENTS, MARKET_DATA_NORMALIZED), _symbol),
    m.ResyncNeeded: Route((FEED_COMMANDS,), _symbol),
    m.SetAgents: Route((AGENTS, COMPLIANCE), _everywhere),
    m.AgentControl: Route((AGENTS, COMPLIANCE), _everywhere),
    m.AnalyseNow: Route((AGENTS,), _symbol),
    m.ProposalMade: Route((PROPOSALS,), _field("decision_id")),
    m.ProposalClosed: Route((AGENTS,), _field("decision_id")),
    m.AgentStanding: Route((TRADING_DECISIONS,), _field("agent")),
    m.DecisionRecorded: Route((TRADING_DECISIONS,), _symbol),
    m.SetStanding: Route((AGENTS,), lambda message: message.standing.account),  # type: ignore[attr-defined]
    m.CancelStanding: Route((AGENTS,), _account),
    m.StandingChanged: Route((COMPLIANCE, TRADING_DECISIONS), _field("standing_id")),
    m.StandingTriggered: Route((PROPOSALS,), _field("standing_id")),
    m.StandingClosed: Route((AGENTS,), _field("standing_id")),
    m.SentimentScored: Route((AGENTS, SENTIMENT_ANALYZED), _symbol),
    m.OnchainObserved: Route((AGENTS, ONCHAIN_EVENTS), _symbol),
    m.OpinionWanted: Route((QUESTIONS,), _field("decision_id")),
    m.OpinionGiven: Route((AGENTS,), _field("decision_id")),
    m.DecisionCase: Route((DECISION_CASES,), _field("decision_id")),
}


def route_of(message: Message) -> Route:
    """The route of a message. Raises KeyError for a type that has none: a bug."""
    return ROUTES[type(message)]
