"""A conversation over the gateway's real previews and entry, with a fake bus and read models behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.unit.order_gateway.fake_desk import BTC, BTCUSDT, USDT, FakeDesk, Gateway, mark, running_gateway

from polaris_synapse.agents.approvals import Approvals
from polaris_synapse.agents.approvals_tokens import ApprovalTokens
from polaris_synapse.agents.conversation.authority_talk import AuthorityTalk
from polaris_synapse.agents.conversation.dialogue import Conversation
from polaris_synapse.agents.conversation.line import Names
from polaris_synapse.agents.conversation.settings import ConversationSettings
from polaris_synapse.agents.conversation.turns import Reply
from polaris_synapse.agents.conversation.understanding import Understanding
from polaris_synapse.agents.mandates_api import Mandates
from polaris_synapse.agents.receipts import order_hash
from polaris_synapse.agents.roster import Roster
from polaris_synapse.agents.standing import StandingDesk, StandingRoster
from polaris_synapse.desk.conversation import ChatTrading
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import OrderRequest, OrderType, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.web.authentication import Principal, Role

ONE = 10**8
ETH = Asset("ETH", 8)
ETHUSDT = Instrument(
    symbol="ETHUSDT", base=ETH, quote=USDT, tick_units=10**6, lot_units=10**4, min_notional_units=5 * ONE
)
INTERNAL = Instrument(
    symbol="BTCUSDT.INT", base=BTC, quote=USDT, tick_units=10**6, lot_units=10**3, venue="internal",
    reference_symbol="BTCUSDT",
)  # fmt: skip
INSTRUMENTS = [BTCUSDT, INTERNAL, ETHUSDT]
NAMES = Names.of(INSTRUMENTS)

ALICE = Principal(name="alice", role=Role.TRADER, accounts=("main",))
VIEWER = Principal(name="vera", role=Role.VIEWER, accounts=("main",))
STRANGER = Principal(name="bob", role=Role.TRADER, accounts=("other",))
OFFICER = Principal(name="olga", role=Role.RISK_OFFICER, accounts=("*",))
ADMIN = Principal(name="root", role=Role.ADMIN, accounts=("*",))


def balance(asset: str, total: int, reserved: int = 0, account: str = "main") -> m.BalanceChanged:
    """A balance in minor units."""
    return m.BalanceChanged(time_ns=1, account=account, asset=asset, total_units=total, reserved_units=reserved)


class TalkingDesk(FakeDesk):
    """The fake desk with a second instrument, holdings, and the reads that only conversations ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.balance_rows = [balance("BTC", ONE), balance("ETH", 10 * ONE), balance("USDT", 1_000 * ONE, 100 * ONE)]
        self.balance_rows.append(balance("USDT", 7 * ONE, account="other"))
        self.kill_rows: list[m.KillLevelChanged] = []
        self.refuse_after: int | None = None

    async def request(self, command: m.Command, /) -> m.Answer:
        if isinstance(command, m.SubmitOrder) and len(self.submitted) == self.refuse_after:
            self.refuse = Reason.ORDER_VALUE_LIMIT
        return await super().request(command)

    async def instruments(self) -> list[Instrument]:
        return INSTRUMENTS

    async def candles(self, **_: Any) -> list[m.Candle]:
        return []

    async def alerts(self, **_: Any) -> list[m.ComplianceAlert]:
        return []

    async def breaks(self, **_: Any) -> list[m.BreakChanged]:
        return []

    async def kill_levels(self) -> list[m.KillLevelChanged]:
        return self.kill_rows

    @property
    def submitted(self) -> list[m.SubmitOrder]:
        """The orders that reached risk."""
        return [command for command in self.commands if isinstance(command, m.SubmitOrder)]


class _Market:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def mark(self, instrument: Instrument, /) -> m.Mark | None:
        return self._gateway.service.markets.mark(instrument)

    def book(self, symbol: str, levels: int, /) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        return ((6_099_999, 100),), ((6_100_001, 200),)

    def notes(self) -> dict[str, str]:
        return {"trading": "paper: every fill is simulated"}


class FakeAuthority:
    """The risk core's records and the desk's people, as conversations ask for them."""

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}
        self.held: dict[str, m.Approval] = {}

    async def mandates(self) -> list[m.Mandate]:
        return [
            m.Mandate(
                account="main", agent="jarvis", symbols=("BTCUSDT",), order_value_units_max=ONE,
                daily_value_units_max=ONE, approval_above_units=0,
            )
        ]  # fmt: skip

    async def mandate_use(self, account: str, agent: str, /) -> tuple[int, int]:
        return 0, 0

    async def approvals(self, *, state: m.ApprovalState | None = None) -> list[m.Approval]:
        return [one for one in reversed(self.held.values()) if state is None or one.state is state]

    async def approvals_of_order(self, account: str, client_order_id: str, /) -> list[m.Approval]:
        found = self.held.values()
        return [one for one in found if (one.account, one.order.client_order_id) == (account, client_order_id)]

    async def limits_of(self, account: str, /) -> m.RiskLimits | None:
        return m.RiskLimits(order_value_units_max=50_000 * ONE) if account != "nobody" else None

    async def decided(self, approval_id: str, /) -> m.Approval | None:
        return self.held.get(approval_id)

    async def in_force(self, mandate: m.Mandate, /) -> None:
        return None

    async def approval(self, approval_id: str, /) -> m.Approval | None:
        return self.held.get(approval_id)

    async def holding_limits(self, account: str, /) -> dict[str, int]:
        return self.limits

    def principal(self, actor: str, /) -> Principal | None:
        return {"user:alice": ALICE, "user:olga": OFFICER}.get(actor)

    def hold(self, now_ns: int) -> m.Approval:
        """An order of agent jarvis that waits as request 1."""
        order = OrderRequest(
            account="main", client_order_id="D0-1-jarvis", symbol="BTCUSDT", side=Side.BUY, type=OrderType.LIMIT,
            quantity_lots=1_000, price_ticks=6_100_000,
        )  # fmt: skip
        held = m.Approval(
            approval_id="1", account="main", agent="jarvis", actor="agent:jarvis", order=order,
            order_hash=order_hash(order), value_units=610 * ONE, created_time_ns=now_ns,
            expires_time_ns=now_ns + 900 * 10**9,
        )  # fmt: skip
        self.held["1"] = held
        return held


class Talk:
    """Somebody talking to the desk."""

    def __init__(
        self,
        gateway: Gateway,
        desk: TalkingDesk,
        clock: ManualClock,
        conversation: Conversation,
        authority: FakeAuthority,
        approvals: Approvals,
    ) -> None:
        self.gateway = gateway
        self.desk = desk
        self.clock = clock
        self.conversation = conversation
        self.session = ""
        self.authority = authority
        self.approvals = approvals

    async def say(self, message: str, principal: Principal = ALICE, *, account: str = "") -> Reply:
        """One message in the running session."""
        reply = await self.conversation.say(principal, message, session_id=self.session, account=account)
        self.session = reply.session
        return reply

    def price(self, symbol: str, ticks: int) -> None:
        """Move the market."""
        moved = mark(ticks)
        self.gateway.service.markets.take_mark(
            m.Mark(
                time_ns=moved.time_ns, symbol=symbol, source="simulated", mark_ticks=ticks, bid_ticks=ticks - 1,
                ask_ticks=ticks + 1, last_ticks=ticks, healthy=True,
            )
        )  # fmt: skip


@asynccontextmanager
async def talking(
    directory: Path, *, understanding: Understanding | None = None, **settings: Any
) -> AsyncIterator[Talk]:
    """A conversation with BTC at 61,000 and ETH at 2,600."""
    desk, clock = TalkingDesk(), ManualClock()
    async with running_gateway(directory, desk=desk, clock=clock) as gateway:
        authority, roster, trading = FakeAuthority(), Roster(), ChatTrading(gateway.service)
        approvals = Approvals(desk, authority, authority, ApprovalTokens(b"a secret of the desk"), clock)
        talk_of_authority = AuthorityTalk(
            bus=desk,
            reads=desk,  # type: ignore[arg-type]  # as below
            trading=trading,
            approvals=approvals,
            mandates=Mandates(
                bus=desk, authority=authority, roster=roster, instruments=desk.instruments, clock=clock, valuation=USDT
            ),
            standing=StandingDesk(desk, StandingRoster(), clock),
            holding_limits=authority,
            roster=roster,
            clock=clock,
            valuation=USDT,
        )
        conversation = Conversation(
            bus=desk,
            reads=desk,  # type: ignore[arg-type]  # the ledger and the audit log are never asked for
            trading=trading,
            market=_Market(gateway),
            limits=authority.limits_of,
            roster=roster,
            clock=clock,
            valuation=USDT,
            authority=talk_of_authority,
            understanding=understanding,
            settings=ConversationSettings(**settings),
        )
        talk = Talk(gateway, desk, clock, conversation, authority, approvals)
        talk.price("BTCUSDT", 6_100_000)
        talk.price("ETHUSDT", 260_000)
        yield talk
