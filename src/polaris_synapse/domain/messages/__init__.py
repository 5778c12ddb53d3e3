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
    DecisionCase,
    DecisionRecorded,
    Fact,
    Lesson,
    OnchainObserved,
    OpinionGiven,
    OpinionWanted,
    ProposalClosed,
    ProposalMade,
    SentimentScored,
    SetAgents,
    SignalRecord,
    SourceKind,
    Vote,
    VoterRecord,
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
    ExecuteOrderList,
    ExecuteReplace,
    ResolveBreak,
    VenueBalance,
    VenueBalances,
    VenueCancel,
    VenueListing,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.messages.fees import FeeTier, FeeTierChanged, SetFeeTiers
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
    BookStatusChanged,
    PlaceOrder,
    PlaceOrderList,
    RemoveOrder,
    TradePrinted,
)
from polaris_synapse.domain.messages.orders import (
    CancelAll,
    CancelOrder,
    CancelOrderList,
    ExecutionRecorded,
    OrderListUpdated,
    OrderReport,
    OrderUpdated,
    ReplaceOrder,
    SubmitOrder,
    SubmitOrderList,
)
from polaris_synapse.domain.messages.risk import (
    AccountMetrics,
    ActivateBreaker,
    Approval,
    ApprovalChanged,
    ApprovalState,
    Autonomy,
    BalanceChanged,
    BreakerChanged,
    DecideApproval,
    HoldingLimitChanged,
    KillLevel,
    KillLevelChanged,
    LedgerPosted,
    LimitBreached,
    LimitsChanged,
    Mandate,
    MandateChanged,
    MandateUsed,
    MoveFunds,
    PositionChanged,
    Posting,
    ReenableAccount,
    ResetBreaker,
    RiskLimits,
    SetHoldingLimit,
    SetKillLevel,
    SetLimits,
    SetMandate,
    SymbolStopped,
    TradingWindow,
)
from polaris_synapse.domain.messages.standing import (
    CancelStanding,
    SetStanding,
    Standing,
    StandingChanged,
    StandingClosed,
    StandingState,
    StandingTrigger,
    StandingTriggered,
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
    | SymbolStopped
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
    | VenueBalances
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
    | SentimentScored
    | OnchainObserved
    | OpinionWanted
    | OpinionGiven
    | DecisionCase
    | DecideApproval
    | ApprovalChanged
    | SetHoldingLimit
    | HoldingLimitChanged
    | SetStanding
    | CancelStanding
    | StandingChanged
    | StandingTriggered
    | StandingClosed
    | SubmitOrderList
    | CancelOrderList
    | OrderListUpdated
    | ExecuteOrderList
    | PlaceOrderList
    | BookStatusChanged
    | SetFeeTiers
    | FeeTierChanged
    | MandateChanged
    | LimitsChanged
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
    "Approval",
    "ApprovalChanged",
    "ApprovalState",
    "AuditEntry",
    "AuditNote",
    "Autonomy",
    "BalanceChanged",
    "BookChanged",
    "BookHealthChanged",
    "BookSnapshotReceived",
    "BookStatusChanged",
    "BookTickerReceived",
    "BookUpdated",
    "BreakChanged",
    "BreakerChanged",
    "CancelAll",
    "CancelOrder",
    "CancelOrderList",
    "CancelStanding",
    "Candle",
    "CandleClosed",
    "Command",
    "ComplianceAlert",
    "ComplianceRules",
    "ConfigureVenues",
    "DecideApproval",
    "DecisionCase",
    "DecisionRecorded",
    "DepthReceived",
    "ExecuteCancel",
    "ExecuteOrder",
    "ExecuteOrderList",
    "ExecuteReplace",
    "ExecutionRecorded",
    "Fact",
    "FeeTier",
    "FeeTierChanged",
    "FeedStatusChanged",
    "HoldingLimitChanged",
    "HostStarted",
    "KillLevel",
    "KillLevelChanged",
    "KycState",
    "LedgerPosted",
    "Lesson",
    "LimitBreached",
    "LimitsChanged",
    "ListInstrument",
    "Mandate",
    "MandateChanged",
    "MandateUsed",
    "Mark",
    "MarketSummary",
    "MarketTrade",
    "Message",
    "MoveFunds",
    "OnchainObserved",
    "OpenAccount",
    "OpinionGiven",
    "OpinionWanted",
    "OrderListUpdated",
    "OrderReport",
    "OrderUpdated",
    "PlaceOrder",
    "PlaceOrderList",
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
    "SentimentScored",
    "SetAccountBlock",
    "SetAgents",
    "SetComplianceRules",
    "SetFeeTiers",
    "SetHoldingLimit",
    "SetInstrumentStatus",
    "SetKillLevel",
    "SetLimits",
    "SetMandate",
    "SetSanctionsHold",
    "SetStanding",
    "SignalRecord",
    "SourceKind",
    "Standing",
    "StandingChanged",
    "StandingClosed",
    "StandingState",
    "StandingTrigger",
    "StandingTriggered",
    "SubmitOrder",
    "SubmitOrderList",
    "SymbolStopped",
    "Tick",
    "TopOfBook",
    "TradePrinted",
    "TradeReceived",
    "TradingWindow",
    "VenueBalance",
    "VenueBalances",
    "VenueCancel",
    "VenueListing",
    "VenueOrderStatus",
    "VenueQuery",
    "VenueReplace",
    "VenueReport",
    "VenueSubmit",
    "Vote",
    "VoterRecord",
]
