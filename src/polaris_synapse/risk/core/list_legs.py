"""The orders of a list as they change: what they hold between them, and what follows for the list."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from polaris_synapse.domain.messages import OrderListUpdated, OrderReport
from polaris_synapse.domain.order_lists import ListKind, ListState, OrderList
from polaris_synapse.domain.orders import TERMINAL_STATES, OrderEvent, OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core.reservations import current_need, settle
from polaris_synapse.risk.core.state import Account, Desk, Market, OrderRecord

#: Ended lists that stay in memory, so that a repetition is answered with them.
CLOSED_LISTS_MAX: Final = 10_000


def find(desk: Desk, account: str, list_id: int, client_list_id: str) -> OrderList | None:
    """An account's list by its id or, where that is 0, by its client list id."""
    owner = desk.state.accounts.get(account)
    if owner is None:
        return None
    found = desk.state.lists.get(str(list_id or owner.client_list_ids.get(client_list_id, 0)))
    return found if found is not None and found.request.account == account else None


def pair_of(order_list: OrderList) -> tuple[int, ...]:
    """The orders of a list that end each other; none in an OTO."""
    if order_list.request.kind is ListKind.OTO:
        return ()
    return order_list.order_ids[-2:]


def sibling_of(desk: Desk, record: OrderRecord) -> OrderRecord | None:
    """The other order of an order's OCO; None for one that is in no OCO, or whose other order is forgotten."""
    assert record.leg is not None
    order_list = desk.state.lists.get(str(record.leg.list_id))
    pair = pair_of(order_list) if order_list is not None else ()
    if record.order.order_id not in pair:
        return None
    return next((desk.orders.get(order_id) for order_id in pair if order_id != record.order.order_id), None)


def held_by(desk: Desk, record: OrderRecord) -> tuple[int, int]:
    """What an order holds, or the two of its OCO together: ``(units of its need asset, lots that may still trade)``."""
    sibling = sibling_of(desk, record) if record.leg is not None else None
    if sibling is None:
        return record.need_units, record.exposed_lots
    return record.need_units + sibling.need_units, record.exposed_lots + sibling.exposed_lots


def share(desk: Desk, account: Account, market: Market, record: OrderRecord) -> bool:
    """Let the orders of an OCO hold together what the larger one needs. Answers whether reserved funds changed."""
    assert record.leg is not None
    order_list = desk.state.lists.get(str(record.leg.list_id))
    pair = pair_of(order_list) if order_list is not None else ()
    if record.order.order_id not in pair:
        return False
    records = [desk.orders[order_id] for order_id in pair if order_id in desk.orders]
    if len(records) < 2:
        return False  # the other ended so long ago that it is forgotten, and nothing changes any more
    before = record.need_units + next(other.need_units for other in records if other is not record)
    alive = [one for one in records if one.order.state not in TERMINAL_STATES]
    needs: list[tuple[int, int]] = []
    for one in alive:
        assert one.leg is not None
        one.leg.covered = False
        one.leg.sibling_lots = sum(other.order.filled_lots for other in records if other is not one)
        needs.append(current_need(one, market))
    carrier = needs.index(max(needs)) if needs else 0
    for number, one in enumerate(alive):
        assert one.leg is not None
        one.leg.covered = number != carrier
        settle(account, market, one)
    return before != sum(one.need_units for one in records)


def waiting_records(desk: Desk, order_list: OrderList) -> list[OrderRecord]:
    """The orders of a list that wait for its working order and are not being cancelled."""
    found = [desk.orders[order_id] for order_id in order_list.order_ids if order_id in desk.orders]
    return [
        record
        for record in found
        if record.leg is not None and record.leg.waits and record.order.state is OrderState.APPROVED
    ]


def end_waiting(
    desk: Desk, record: OrderRecord, event: OrderEvent, reason: Reason = Reason.NONE, detail: str = ""
) -> None:
    """End an order that no book has seen: the desk reports to itself what a book would have reported."""
    order = record.order
    desk.out.append(
        OrderReport(
            time_ns=desk.time_ns,
            order_id=order.order_id,
            account=order.request.account,
            symbol=order.request.symbol,
            event=event,
            reason=reason,
            detail=detail,
        )
    )


def update_list(desk: Desk, order_list: OrderList) -> None:
    """Publish a list whose orders have all ended, and forget the oldest of those beyond the limit."""
    records = [desk.orders[order_id] for order_id in order_list.order_ids if order_id in desk.orders]
    if any(record.order.state not in TERMINAL_STATES for record in records):
        return
    rejected = [record.order for record in records if record.order.state is OrderState.REJECTED]
    failed = rejected and not any(record.order.filled_lots for record in records)
    cause = next((order for order in rejected if order.reason is not Reason.BOOK_ORDER_LIST), None)
    say_list(
        desk,
        order_list,
        ListState.REJECTED if failed else ListState.ALL_DONE,
        cause.reason if cause is not None else Reason.NONE,
        cause.detail if cause is not None else "",
    )
    state = desk.state
    state.closed_lists.append(order_list.list_id)
    surplus = len(state.closed_lists) - CLOSED_LISTS_MAX
    # In batches, because cutting the front off a list costs its length.
    if surplus > CLOSED_LISTS_MAX // 10:
        for list_id in state.closed_lists[:surplus]:
            request = state.lists.pop(str(list_id)).request
            del state.accounts[request.account].client_list_ids[request.client_list_id]
        del state.closed_lists[:surplus]


def say_list(
    desk: Desk, order_list: OrderList, state: ListState, reason: Reason = Reason.NONE, detail: str = ""
) -> None:
    """A list after a change."""
    changed = structs.replace(
        order_list,
        state=state,
        reason=reason,
        detail=detail,
        updated_time_ns=desk.time_ns,
        version=order_list.version + 1,
    )
    desk.state.lists[str(order_list.list_id)] = changed
    desk.out.append(OrderListUpdated(time_ns=desk.time_ns, order_list=changed))
