"""The agents over a market: the real agents, risk and compliance cores, with one declared model of fills.

Nothing of the decision is rebuilt here. A proposal is submitted as on the desk and passes every check; an approved
order meets the prices of the *next* step, so that nobody trades at a price that the decision was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.messages import Message
from polaris_synapse.domain.orders import Fill, Liquidity, Order, OrderEvent, OrderState, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.testing.cascade import CoreRunner
from polaris_synapse.testing.evaluation.account import PPM, fee_units, fill_ticks
from polaris_synapse.testing.evaluation.paths import MarketPath

ACCOUNT: Final = "evaluated"
_ACTOR: Final = "evaluation"

#: Answers the questions to language models, or says for each why there is no answer.
Advise = Callable[[m.OpinionWanted], Sequence[m.OpinionGiven]]
Progress = Callable[[int], None]


class EvaluationError(RuntimeError):
    """The desk refused what an evaluation is built on; the message is one sentence."""


class Costs(Struct, frozen=True, kw_only=True):
    """What trading costs beside the spread. ``fee_ppm`` of the notional; ``slippage_ppm`` beyond the touch."""

    fee_ppm: int = 1_000
    slippage_ppm: int = 100


class AgentRun(Struct, kw_only=True):
    """What an agent did on a market. ``equity`` in minor units at every step, by the risk core's own ledger.

    ``views`` are (stated confidence, was right) of the directed views whose horizon passed; ``decisions`` counts all.
    """

    equity: list[int]
    trades: int = 0
    turnover_units: int = 0
    fees_units: int = 0
    decisions: int = 0
    refused: int = 0
    views: list[tuple[float, bool]] = []
    not_evidence: int = 0
    cost_micro_usd: int = 0


def run_agent(
    path: MarketPath,
    settings: m.AgentSettings,
    *,
    costs: Costs,
    cash_units: int,
    advise: Advise | None = None,
    progress: Progress | None = None,
) -> AgentRun:
    """One agent over one market. Raises EvaluationError."""
    return _Desk(path, settings, costs, cash_units, advise).run(progress)


class _Desk:
    """The cores, and what stands in for the venue and for the shell that submits proposals."""

    def __init__(
        self, path: MarketPath, settings: m.AgentSettings, costs: Costs, cash_units: int, advise: Advise | None
    ) -> None:
        self._path = path
        self._costs = costs
        self._advise = advise
        self._settings = replace(settings, account=ACCOUNT, symbols=(path.instrument.symbol,))
        self._instrument = replace(path.instrument, taker_fee_ppm=costs.fee_ppm, maker_fee_ppm=costs.fee_ppm)
        quote = self._instrument.quote
        self._cores = CoreRunner([RiskCore(valuation_asset=quote.code), ComplianceCore(), AgentsCore(valuation=quote)])
        self._waiting: list[Order] = []
        self._equity = cash_units
        self._last: dict[str, m.DecisionRecorded] = {}
        self._fills = 0
        self.run_so_far = AgentRun(equity=[])
        self._set_up(cash_units)

    def run(self, progress: Progress | None) -> AgentRun:
        """Every step of the market in order."""
        result = self.run_so_far
        for number, step in enumerate(self._path.steps):
            self._fill_at(step)
            self._feed([_mark(step), step, m.Tick(time_ns=step.time_ns)], step.time_ns)
            result.equity.append(self._equity)
            if progress is not None and not number % 500:
                progress(number)
        for record in self._last.values():
            self._count(record)
        return result

    def _set_up(self, cash_units: int) -> None:
        """An account with money, a mandate that does not bind, and the agent."""
        now = self._path.steps[0].time_ns - 10**9
        instrument, quote = self._instrument, self._instrument.quote.code
        # The evaluation measures the agent's judgement; what stops it on the desk is tested elsewhere.
        limits = m.RiskLimits(
            market_data_age_seconds_max=0, messages_per_second_max=0, repeated_orders_max=0, breaker_mark_jump_ppm=0
        )
        mandate = m.Mandate(
            account=ACCOUNT,
            agent=self._settings.agent,
            symbols=(instrument.symbol,),
            order_value_units_max=cash_units,
            daily_value_units_max=1_000 * cash_units,
            approval_above_units=cash_units,
        )
        commands: list[m.Command] = [
            m.ListInstrument(time_ns=now, actor=_ACTOR, instrument=instrument),
            m.OpenAccount(
                time_ns=now,
                actor=_ACTOR,
                account=ACCOUNT,
                holder_name="Evaluation",
                account_kind=m.AccountKind.AGENT,
                country="",
            ),
            m.ReviewKyc(time_ns=now, actor=_ACTOR, account=ACCOUNT, state=m.KycState.APPROVED, note="evaluation"),
            m.MoveFunds(
                time_ns=now, actor=_ACTOR, account=ACCOUNT, asset=quote, amount_units=cash_units, reference="start"
            ),
            m.SetLimits(time_ns=now, actor=_ACTOR, account=ACCOUNT, limits=limits),
            m.SetMandate(time_ns=now, actor=_ACTOR, mandate=mandate),
            m.SetAgents(time_ns=now, actor=_ACTOR, settings=self._settings),
        ]
        for command in commands:
            for message in self._feed([command], now):
                if isinstance(message, m.Answer) and message.reason is not Reason.NONE:
                    raise EvaluationError(
                        f"The desk refused {type(command).__name__}: {message.reason.name}. {message.detail}"
                    )

    def _feed(self, messages: Iterable[Message], now_ns: int) -> list[Message]:
        """Feed the cores and act on what they say, until nothing follows any more."""
        everything: list[Message] = []
        pending: list[Message] = list(messages)
        while pending:
            said = self._cores.run(pending)
            everything += said
            pending = []
            for message in said:
                pending += self._follow(message, now_ns)
        return everything

    def _follow(self, message: Message, now_ns: int) -> list[Message]:
        """What the shells would send back for one message of the cores."""
        result = self.run_so_far
        if isinstance(message, m.ProposalMade):
            return [
                m.SubmitOrder(
                    time_ns=now_ns,
                    request_id=message.decision_id,
                    actor=f"agent:{message.agent}",
                    order=message.order,
                )
            ]
        if isinstance(message, m.ExecuteOrder):
            order = message.approved.subject
            self._waiting.append(order)
            return [self._report(order, OrderEvent.ACKNOWLEDGE, now_ns)]
        if isinstance(message, m.OpinionWanted):
            return list(self._advise(message)) if self._advise is not None else _no_advice(message, now_ns)
        if isinstance(message, m.DecisionRecorded):
            if message.revision == 0:
                result.decisions += 1
                result.cost_micro_usd += message.cost_micro_usd
            self._last[message.decision_id] = message
            if message.score_ppm is not None:
                self._count(self._last.pop(message.decision_id))
        if isinstance(message, m.AccountMetrics):
            self._equity = message.equity_units
        if isinstance(message, m.OrderUpdated) and message.order.state is OrderState.REFUSED:
            result.refused += 1
        if isinstance(message, m.ExecutionRecorded):
            result.trades += 1
            result.turnover_units += message.notional_units
            result.fees_units += message.fill.fee_units
        return []

    def _count(self, record: m.DecisionRecorded) -> None:
        """A decision that is over: was the direction right?"""
        if record.not_evidence:
            self.run_so_far.not_evidence += 1
        move = next((fact.value for fact in record.facts if fact.name == "move to the horizon"), None)
        if move is None or record.view == "HOLD":
            return
        up = not move.startswith("-") and float(move) > 0
        down = move.startswith("-") and float(move) < 0
        self.run_so_far.views.append((record.confidence_ppm / PPM, up if record.view == "BUY" else down))

    def _fill_at(self, step: m.MarketSummary) -> None:
        """Orders that were approved at an earlier step meet the prices of this one."""
        waiting, self._waiting = self._waiting, []
        for order in waiting:
            side = order.request.side
            price = fill_ticks(step, side, self._costs.slippage_ppm)
            limit = order.price_ticks
            fits = not limit or (price <= limit if side is Side.BUY else price >= limit)
            self._feed([self._filled(order, price, step) if fits else self._expired(order, step)], step.time_ns)

    def _filled(self, order: Order, price_ticks: int, step: m.MarketSummary) -> m.OrderReport:
        notional = self._instrument.notional_units(price_ticks, order.open_lots)
        self._fills += 1
        fill = Fill(
            trade_id=f"evaluation-{self._fills}",
            price_ticks=price_ticks,
            quantity_lots=order.open_lots,
            liquidity=Liquidity.TAKER,
            fee_units=fee_units(self._instrument, notional),
            fee_asset=self._instrument.quote.code,
            simulated=True,
            how=f"evaluation: the next step's touch and {self._costs.slippage_ppm} ppm",
        )
        return replace(self._report(order, OrderEvent.FILL, step.time_ns), fill=fill)

    def _expired(self, order: Order, step: m.MarketSummary) -> m.OrderReport:
        return self._report(order, OrderEvent.EXPIRE, step.time_ns)

    def _report(self, order: Order, event: OrderEvent, now_ns: int) -> m.OrderReport:
        return m.OrderReport(
            time_ns=now_ns,
            order_id=order.order_id,
            account=order.request.account,
            symbol=order.request.symbol,
            event=event,
            venue_order_id=f"E{order.order_id}",
        )


def _mark(step: m.MarketSummary) -> m.Mark:
    return m.Mark(
        time_ns=step.time_ns,
        symbol=step.symbol,
        source=step.source,
        mark_ticks=(step.bid_ticks + step.ask_ticks) // 2,
        bid_ticks=step.bid_ticks,
        ask_ticks=step.ask_ticks,
        last_ticks=step.last_ticks,
        healthy=True,
    )


def _no_advice(wanted: m.OpinionWanted, now_ns: int) -> list[Message]:
    return [
        m.OpinionGiven(
            time_ns=now_ns,
            agent=wanted.agent,
            decision_id=wanted.decision_id,
            role=role,
            reason=Reason.AGENT_MODEL_UNAVAILABLE,
            detail="This evaluation runs without language models.",
        )
        for role in wanted.roles
    ]
