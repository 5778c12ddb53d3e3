"""What compliance remembers of an account's recent transactions, over windows of message time, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec import Struct, field

from polaris_synapse.domain.messages import ComplianceRules

SECOND_NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * SECOND_NS

#: Deposits and withdrawals remembered of one account; the oldest go first. By then the rapid rule has long spoken.
MOVEMENTS_MAX: Final = 1_024
#: A window of executions is counted in this many buckets, so its memory does not depend on how many there are.
TRADE_BUCKETS: Final = 60
#: Accounts remembered at once; the one that was silent longest goes first.
ACTIVITIES_MAX: Final = 100_000
#: Orders whose executed value is added up; the one that was silent longest goes first.
ORDERS_MAX: Final = 50_000


class Movement(Struct, frozen=True, array_like=True, gc=False):
    """A deposit (positive) or withdrawal (negative), valued in minor units of the valuation asset.

    ``traded_before_units`` is what the account had traded when it happened, so trading in between is a subtraction.
    """

    time_ns: int
    entry_id: int
    value_units: int
    traded_before_units: int


class Activity(Struct):
    """One account's recent transactions.

    ``opened_time_ns`` is when the account was opened, or first seen. ``quiet_until_ns`` holds, by rule, until when it
    does not speak again; ``trade_buckets`` are pairs of a bucket's number and its executions, the latest last.
    """

    opened_time_ns: int
    last_time_ns: int = 0
    movements: list[Movement] = field(default_factory=list)
    trade_buckets: list[list[int]] = field(default_factory=list)
    trades_in_window: int = 0
    traded_units: int = 0
    new_account_units: int = 0
    quiet_until_ns: dict[str, int] = field(default_factory=dict)

    def add_movement(self, movement: Movement, *, window_ns: int) -> None:
        """Remember a movement, and forget those that ended more than ``window_ns`` before it."""
        self.movements.append(movement)
        oldest_ns = movement.time_ns - window_ns
        gone = 0
        while self.movements[gone].time_ns <= oldest_ns:
            gone += 1
        del self.movements[: max(gone, len(self.movements) - MOVEMENTS_MAX)]

    def count_trade(self, time_ns: int, *, window_ns: int) -> int:
        """Count an execution; the number within the window. The window's far end is exact to a sixtieth of it."""
        bucket, buckets = time_ns * TRADE_BUCKETS // window_ns, self.trade_buckets
        if buckets and buckets[-1][0] >= bucket:
            buckets[-1][1] += 1
        else:
            while buckets and buckets[0][0] <= bucket - TRADE_BUCKETS:
                self.trades_in_window -= buckets.pop(0)[1]
            buckets.append([bucket, 1])
        self.trades_in_window += 1
        return self.trades_in_window

    def may_speak(self, rule: str, time_ns: int, *, quiet_ns: int) -> bool:
        """Whether a rule may raise an alert now; if so it is quiet for ``quiet_ns`` from here on."""
        if time_ns < self.quiet_until_ns.get(rule, 0):
            return False
        self.quiet_until_ns[rule] = time_ns + quiet_ns
        return True


class OrderValue(Struct, array_like=True, gc=False):
    """What the executions of one order came to so far, in minor units of the valuation asset."""

    value_units: int
    last_time_ns: int


class Activities:
    """Every account's activity and every recent order's value, the longest silent first."""

    def __init__(self) -> None:
        # A plain dict would look at every entry that has left before it finds the oldest one.
        self.by_account: OrderedDict[str, Activity] = OrderedDict()
        self.by_order: OrderedDict[int, OrderValue] = OrderedDict()

    def touch(self, account: str, time_ns: int, *, opened_time_ns: int | None) -> Activity:
        """The account's activity, now the most recent one."""
        activity = self.by_account.get(account)
        if activity is None:
            activity = Activity(opened_time_ns=time_ns if opened_time_ns is None else opened_time_ns)
            if len(self.by_account) >= ACTIVITIES_MAX:
                self.by_account.popitem(last=False)
            self.by_account[account] = activity
        else:
            self.by_account.move_to_end(account)
        if activity.last_time_ns < time_ns:
            activity.last_time_ns = time_ns
        return activity

    def add_order_value(self, order_id: int, value_units: int, time_ns: int) -> tuple[int, int]:
        """Add an execution's value to its order's; what the order came to before and after."""
        order = self.by_order.get(order_id)
        if order is None:
            order = OrderValue(0, 0)
            if len(self.by_order) >= ORDERS_MAX:
                self.by_order.popitem(last=False)
            self.by_order[order_id] = order
        else:
            self.by_order.move_to_end(order_id)
        before = order.value_units
        order.value_units = before + value_units
        if order.last_time_ns < time_ns:
            order.last_time_ns = time_ns
        return before, order.value_units

    def forget_silent(self, time_ns: int, *, horizon_ns: int) -> None:
        """Forget accounts and orders that were silent for ``horizon_ns``: no window reaches back to them."""
        oldest_ns = time_ns - horizon_ns
        accounts: list[str] = []
        for account, activity in self.by_account.items():
            if activity.last_time_ns > oldest_ns:
                break
            accounts.append(account)
        for account in accounts:
            del self.by_account[account]
        orders: list[int] = []
        for order_id, order in self.by_order.items():
            if order.last_time_ns > oldest_ns:
                break
            orders.append(order_id)
        for order_id in orders:
            del self.by_order[order_id]


def movements_window_ns(rules: ComplianceRules) -> int:
    """How far back any rule looks at deposits and withdrawals."""
    return SECOND_NS * max(
        rules.rapid_funds_window_seconds, rules.pass_through_window_seconds, rules.structuring_window_seconds
    )


def horizon_ns(rules: ComplianceRules) -> int:
    """How long an account must be silent before nothing any rule could look at is left of it."""
    return max(
        DAY_NS,
        movements_window_ns(rules),
        SECOND_NS * rules.rapid_trades_window_seconds,
        SECOND_NS * rules.new_account_window_seconds,
    )
