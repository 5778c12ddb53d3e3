"""The agents core's whole state, as one struct that a snapshot holds."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from polaris_synapse.agents.core.accounts import AccountBook
from polaris_synapse.agents.core.evidence import Item
from polaris_synapse.agents.core.flow import NANOSECONDS
from polaris_synapse.agents.core.market import CANDLE_SECONDS, Market
from polaris_synapse.agents.core.opinions import ROLES, Answered
from polaris_synapse.agents.core.reflection import Memory
from polaris_synapse.agents.core.scoring import HitRate
from polaris_synapse.agents.core.standing import StandingBook
from polaris_synapse.agents.core.tracking import Tracked
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import AgentSettings, AgentStanding, Fact, Mandate, SignalRecord, VoterRecord

SNAPSHOT_VERSION: Final = 2

AGENTS_MAX: Final = 16
AGENT_SYMBOLS_MAX: Final = 100
MARKETS_MAX: Final = 500
MANDATES_MAX: Final = 1_000
NAME_CHARACTERS_MAX: Final = 32
#: The longest that a decision may wait for language models: the market it was made for moves on.
MODEL_SECONDS_MAX: Final = 120
#: Decisions that wait for their order or their score; beyond it the oldest goes unscored.
TRACKED_MAX: Final = 5_000

_DAY_NS: Final = 86_400 * NANOSECONDS


def day_of(time_ns: int) -> int:
    """The UTC day, counted from 1970."""
    return time_ns // _DAY_NS


class Schedule(Struct):
    """When an agent looks at a symbol. Times in nanoseconds, 0 for never. ``voted_ns``: the last decision to score."""

    due_ns: int
    decided_ns: int = 0
    voted_ns: int = 0
    decision_id: str = ""
    proposed_ns: int = 0


class Pending(Struct):
    """A decision that waits for language models. ``asked`` are the facts they were asked about."""

    decision_id: str
    number: int
    agent: str
    symbol: str
    roles: tuple[str, ...]
    asked: tuple[Fact, ...]
    asked_ns: int
    deadline_ns: int
    answers: list[Answered] = []


class Agent(Struct):
    """One agent. ``day_value_units`` is what its orders took of its mandate on ``day``."""

    settings: AgentSettings
    paused: bool = False
    schedules: dict[str, Schedule] = {}
    day: int = 0
    day_value_units: int = 0
    decisions_made: int = 0
    proposals_made: int = 0
    records: dict[str, dict[str, HitRate]] = {}
    memories: dict[str, Memory] = {}

    def take_settings(self, settings: AgentSettings, clock_ns: int) -> None:
        """Adopt settings. Each symbol is looked at once an interval, the symbols evenly spread over it."""
        self.settings = settings
        kept = self.schedules
        self.schedules = {}
        for index, symbol in enumerate(settings.symbols):
            schedule = kept.get(symbol) or Schedule(due_ns=0)
            schedule.due_ns = self.next_due(index, clock_ns)
            self.schedules[symbol] = schedule
        self.records = {symbol: rates for symbol, rates in self.records.items() if symbol in self.schedules}
        self.memories = {symbol: memory for symbol, memory in self.memories.items() if symbol in self.schedules}

    def next_due(self, index: int, clock_ns: int) -> int:
        """The first time after ``clock_ns`` at which symbol number ``index`` is due."""
        interval = self.settings.interval_seconds * NANOSECONDS
        offset = index * interval // len(self.settings.symbols)
        return ((clock_ns - offset) // interval + 1) * interval + offset

    def used_today(self, clock_ns: int) -> int:
        """What today's orders took of the mandate."""
        return self.day_value_units if self.day == day_of(clock_ns) else 0

    def charge(self, units: int, clock_ns: int) -> int:
        """Count an order against today; returns the day."""
        today = day_of(clock_ns)
        if self.day != today:
            self.day, self.day_value_units = today, 0
        self.day_value_units += units
        return today

    def release(self, units: int, day: int) -> None:
        """Take an order that never was off the day it was counted on."""
        if self.day == day:
            self.day_value_units = max(self.day_value_units - units, 0)

    def rates(self, symbol: str) -> dict[str, HitRate]:
        """The record of each signal on a symbol."""
        return self.records.setdefault(symbol, {})

    def memory(self, symbol: str) -> Memory:
        """What reflection has learned of a symbol."""
        return self.memories.setdefault(symbol, Memory())

    def standing(self, unscored: int, clock_ns: int, evidence_refused: int = 0) -> AgentStanding:
        """The agent as others see it."""
        voters = (
            VoterRecord(
                symbol=symbol, regime=regime, voter=voter, right_ppm=record.right_ppm, wrong_ppm=record.wrong_ppm
            )
            for symbol, memory in sorted(self.memories.items())
            for regime, records in sorted(memory.voters.items())
            for voter, record in sorted(records.items())
        )
        signals = (
            SignalRecord(symbol=symbol, signal=signal, right=rate.right, wrong=rate.wrong)
            for symbol, rates in sorted(self.records.items())
            for signal, rate in sorted(rates.items())
        )
        return AgentStanding(
            time_ns=clock_ns,
            agent=self.settings.agent,
            settings=self.settings,
            paused=self.paused,
            decisions_made=self.decisions_made,
            proposals_made=self.proposals_made,
            unscored=unscored,
            day_value_units=self.used_today(clock_ns),
            signals=tuple(signals),
            voters=tuple(voters),
            evidence_refused=evidence_refused,
        )


class AgentsState(Struct):
    """Everything. Mappings are only ever walked in sorted order or by an agent's own list of symbols."""

    clock_ns: int = 0
    decisions_made: int = 0
    standings_due_ns: int = 0
    instruments: dict[str, Instrument] = {}
    markets: dict[str, Market] = {}
    candle_lengths: tuple[int, ...] = (CANDLE_SECONDS,)
    accounts: dict[str, AccountBook] = {}
    mandates: dict[str, dict[str, Mandate]] = {}
    agents: dict[str, Agent] = {}
    tracked: dict[str, Tracked] = {}
    pending: dict[str, Pending] = {}
    listed: dict[str, int] = {}
    evidence: dict[str, list[Item]] = {}
    evidence_refused: int = 0
    standing: StandingBook = field(default_factory=StandingBook)


def settings_problem(settings: AgentSettings) -> str:
    """What is wrong with an agent's settings, in one sentence; empty when they can be used."""
    ranges = (
        ("interval_seconds", settings.interval_seconds, 1, 86_400),
        ("confidence_ppm_min", settings.confidence_ppm_min, 0, 1_000_000),
        ("position_ppm_of_equity_max", settings.position_ppm_of_equity_max, 0, 1_000_000),
        ("cooldown_seconds", settings.cooldown_seconds, 0, 86_400),
        ("horizon_seconds", settings.horizon_seconds, 60, 86_400),
        ("slippage_ppm_max", settings.slippage_ppm_max, 0, 100_000),
        ("candle_seconds", settings.candle_seconds, 1, 3_600),
        ("model_seconds_max", settings.model_seconds_max, 1, MODEL_SECONDS_MAX),
    )
    for name, value, least, most in ranges:
        if not least <= value <= most:
            return f"{name} is {value}; it must lie within {least} and {most}."
    for what, text in (("agent", settings.agent), ("account", settings.account)):
        if not 0 < len(text) <= NAME_CHARACTERS_MAX:
            return f"The {what}'s name must have 1 to {NAME_CHARACTERS_MAX} characters."
    unknown = [role for role in settings.model_roles if role not in ROLES]
    if unknown or len(set(settings.model_roles)) != len(settings.model_roles):
        return f"model_roles may name each of {', '.join(ROLES)} once."
    if len(settings.symbols) > AGENT_SYMBOLS_MAX:
        return f"An agent follows at most {AGENT_SYMBOLS_MAX} symbols."
    if len(set(settings.symbols)) != len(settings.symbols):
        return "A symbol is given twice."
    return ""
