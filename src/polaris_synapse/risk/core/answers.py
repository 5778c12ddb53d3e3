"""The one answer to each command."""

from __future__ import annotations

from polaris_synapse.domain.messages import Answer, Command
from polaris_synapse.domain.order_lists import OrderList
from polaris_synapse.domain.orders import Order
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core.state import Desk


def answer(
    desk: Desk,
    command: Command,
    reason: Reason = Reason.NONE,
    detail: str = "",
    order: Order | None = None,
    order_ids: tuple[int, ...] = (),
    duplicate: bool = False,
    order_list: OrderList | None = None,
) -> None:
    """Answer a command."""
    desk.out.append(
        Answer(
            time_ns=desk.time_ns,
            request_id=command.request_id,
            reason=reason,
            detail=detail,
            order=order,
            order_ids=order_ids,
            duplicate=duplicate,
            order_list=order_list,
        )
    )
