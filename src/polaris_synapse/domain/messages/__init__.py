"""Every message of the desk: frozen, tagged by ``kind``, JSON on the bus.

One file a subject. ``AnyMessage`` is the tagged union of all of them; ``polaris_synapse.domain.topics`` says where each
one goes. Each carries ``time_ns``, the desk's logical time in nanoseconds since 1970 UTC: inputs are stamped by the
shell's clock, derived messages carry the time of the input that caused them.
"""

from __future__ import annotations

from polaris_synapse.domain.messages.agents import (
    AgentControl,
    AgentSettings,
    AgentStanding,
    AnalyseNow,
    DecisionRecorded,
    Fact,
    ProposalClosed,
    ProposalMade,
    SetAgents,
    SignalRecord,
)
from polaris_synapse.domain.messages.base import (
    Answer,
    AuditNote,
    Command,
    HostStarted,
    ListInstrument,
    Message,
    SetInstrumentStatus,
    Tick,
)
from polaris_synapse.domain.messages.compliance import (
    AccountKind,
    AccountStanding,
    AuditEntry,
    ComplianceAlert,
    ComplianceRules,
    KycState,
    OpenAccount,
    RestrictInstrument,
    ReviewAlert,
    ReviewKyc,
    SetAccountBlock,
    SetComplianceRules,
    SetSanctionsHold,
)
from polaris_synapse.domain.messages.execution import (
    BreakChanged,
    ConfigureVenues,
    ExecuteCancel,
    ExecuteOrder,
    ExecuteReplace,
    ResolveBreak,
    VenueCancel,
    VenueListing,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.messages.market_data import (
    BookHealthChanged,
    BookSnapshotReceived,
    BookTickerReceived,
    BookUpdated,
    Candle,
    CandleClosed,
    DepthReceived,
    FeedStatusChanged,
    Mark,
    MarketSummary,
    MarketTrade,
    ResyncNeeded,
    TopOfBook,
    TradeReceived,
)
from polaris_synapse.domain.messages.matching import (
    AmendOrder,
    BookChanged,
    PlaceOrder,
    RemoveOrder,
    TradePrinted,
)
from polaris_synapse.domain.messages.orders import (
    CancelAll,
    CancelOrder,
    ExecutionRecorded,
    OrderReport,
    OrderUpdated,
    ReplaceOrder,
    SubmitOrder,
)
from polaris_synapse.domain.messages.risk import (
    AccountMetrics,
    ActivateBreaker,
    BalanceChanged,
    BreakerChanged,
    KillLevel,
    KillLevelChanged,
    LedgerPosted,
    LimitBreached,
    Mandate,
    MoveFunds,
    PositionChanged,
    Posting,
    ReenableAccount,
    ResetBreaker,
    RiskLimits,
    SetKillLevel,
    SetLimits,
    SetMandate,
)

AnyMessage = (
    Tick
    | HostStarted
    | ListInstrument
    | SetInstrumentStatus
    | Answer
    | AuditNote
    | SubmitOrder
    | CancelOrder
    | CancelAll
    | ReplaceOrder
    | OrderReport
    | OrderUpdated
    | ExecutionRecorded
    | MoveFunds
    | SetLimits
    | SetMandate
    | ActivateBreaker
    | ResetBreaker
    | SetKillLevel
    | ReenableAccount
    | LedgerPosted
    | BalanceChanged
    | PositionChanged
    | AccountMetrics
    | BreakerChanged
    | KillLevelChanged
    | LimitBreached
    | OpenAccount
    | ReviewKyc
    | SetSanctionsHold
    | SetAccountBlock
    | RestrictInstrument
    | ReviewAlert
    | SetComplianceRules
    | AccountStanding
    | ComplianceAlert
    | AuditEntry
    | PlaceOrder
    | RemoveOrder
    | AmendOrder
    | TradePrinted
    | BookChanged
    | ExecuteOrder
    | ExecuteCancel
    | ExecuteReplace
    | VenueSubmit
    | VenueCancel
    | VenueReplace
    | VenueQuery
    | VenueReport
    | VenueOrderStatus
    | BreakChanged
    | ResolveBreak
    | ConfigureVenues
    | BookSnapshotReceived
    | DepthReceived
    | TradeReceived
    | BookTickerReceived
    | FeedStatusChanged
    | BookUpdated
    | TopOfBook
    | MarketTrade
    | CandleClosed
    | BookHealthChanged
    | Mark
    | MarketSummary
    | ResyncNeeded
    | SetAgents
    | AgentControl
    | AnalyseNow
    | ProposalMade
    | ProposalClosed
    | AgentStanding
    | DecisionRecorded
)

__all__ = [
    "AccountKind",
    "AccountMetrics",
    "AccountStanding",
    "ActivateBreaker",
    "AgentControl",
    "AgentSettings",
    "AgentStanding",
    "AmendOrder",
    "AnalyseNow",
    "Answer",
    "AnyMessage",
    "AuditEntry",
    "AuditNote",
    "BalanceChanged",
    "BookChanged",
    "BookHealthChanged",
    "BookSnapshotReceived",
    "BookTickerReceived",
    "BookUpdated",
    "BreakChanged",
    "BreakerChanged",
    "CancelAll",
    "CancelOrder",
    "Candle",
    "CandleClosed",
    "Command",
    "ComplianceAlert",
    "ComplianceRules",
    "ConfigureVenues",
    "DecisionRecorded",
    "DepthReceived",
    "ExecuteCancel",
    "ExecuteOrder",
    "ExecuteReplace",
    "ExecutionRecorded",
    "Fact",
    "FeedStatusChanged",
    "HostStarted",
    "KillLevel",
    "KillLevelChanged",
    "KycState",
    "LedgerPosted",
    "LimitBreached",
    "ListInstrument",
    "Mandate",
    "Mark",
    "MarketSummary",
    "MarketTrade",
    "Message",
    "MoveFunds",
    "OpenAccount",
    "OrderReport",
    "OrderUpdated",
    "PlaceOrder",
    "PositionChanged",
    "Posting",
    "ProposalClosed",
    "ProposalMade",
    "ReenableAccount",
    "RemoveOrder",
    "ReplaceOrder",
    "ResetBreaker",
    "ResolveBreak",
    "RestrictInstrument",
    "ResyncNeeded",
    "ReviewAlert",
    "ReviewKyc",
    "RiskLimits",
    "SetAccountBlock",
    "SetAgents",
    "SetComplianceRules",
    "SetInstrumentStatus",
    "SetKillLevel",
    "SetLimits",
    "SetMandate",
    "SetSanctionsHold",
    "SignalRecord",
    "SubmitOrder",
    "Tick",
    "TopOfBook",
    "TradePrinted",
    "TradeReceived",
    "VenueCancel",
    "VenueListing",
    "VenueOrderStatus",
    "VenueQuery",
    "VenueReplace",
    "VenueReport",
    "VenueSubmit",
]
