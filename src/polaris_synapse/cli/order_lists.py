"""Commands for orders that depend on each other."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, connect
from polaris_synapse.cli.orders import DEFAULT_ACCOUNT, Account, SideChoice, TradingAccount, trailing_fields
from polaris_synapse.cli.output import (
    BAD,
    GOOD,
    QUIET,
    JsonOption,
    clock_text,
    console,
    print_json,
    print_table,
    rows_of,
    side_text,
)

_WAIT_MS = 1500

Side = Annotated[SideChoice, typer.Argument(help="buy or sell")]
Quantity = Annotated[str, typer.Argument(help="How much, such as 0.01")]
Symbol = Annotated[str, typer.Argument(help="The instrument, such as BTCUSDT.")]
TakeProfit = Annotated[str, typer.Option("--take", help="Profit: a limit order at this price.")]
Stop = Annotated[str, typer.Option("--stop", help="Stop: the price at which it triggers.")]
StopLimit = Annotated[str, typer.Option(help="With --stop: the limit price of what it becomes, instead of market.")]
Trailing = Annotated[str, typer.Option(help="Instead of --stop: a trailing offset such as 50, or 0.5%.")]
Limit = Annotated[str, typer.Option("--limit", help="Price of the working order; without it, it takes at the market.")]
ClientId = Annotated[str, typer.Option(help="Your own id of the list; the same one again never orders twice.")]
WhichList = Annotated[int | None, typer.Argument(help="The list's id.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    lists = typer.Typer(no_args_is_help=True, help="Orders that depend on each other: OCO, OTO and OTOCO.")
    lists.command(
        epilog="Example:  polaris order-list oco sell 0.01 BTCUSDT --take 63000 --stop 59000 --stop-limit 58900"
    )(oco)
    lists.command(epilog="Example:  polaris order-list oto buy 0.01 BTCUSDT --limit 60000 --then-limit 61000")(oto)
    lists.command(
        epilog="Example:  polaris order-list bracket buy 0.01 BTCUSDT --limit 60000 --take 63000 --stop 59000"
    )(bracket)
    lists.command(name="show", epilog="Examples:  polaris order-list show  |  polaris order-list show 1024")(show)
    lists.command(epilog="Example:  polaris order-list cancel 1024")(cancel)
    app.add_typer(lists, name="order-list", rich_help_panel="Trade")


def oco(
    side: Side,
    quantity: Quantity,
    symbol: Symbol,
    take: TakeProfit,
    stop: Stop = "",
    stop_limit: StopLimit = "",
    trailing: Trailing = "",
    client_id: ClientId = "",
    account: TradingAccount = DEFAULT_ACCOUNT,
    json_output: JsonOption = False,
) -> None:
    """One cancels the other: a profit order and a stop over the same quantity."""
    pair = _pair(side, quantity, take=take, stop=stop, stop_limit=stop_limit, trailing=trailing)
    _place("OCO", symbol, pair, client_id, account, json_output=json_output)


def oto(
    side: Side,
    quantity: Quantity,
    symbol: Symbol,
    then_limit: Annotated[str, typer.Option(help="Price of the order that waits; it is of the other side.")],
    limit: Limit = "",
    client_id: ClientId = "",
    account: TradingAccount = DEFAULT_ACCOUNT,
    json_output: JsonOption = False,
) -> None:
    """One triggers the other: when the first has filled completely, the second is placed."""
    then = {"side": _other(side), "type": "LIMIT", "quantity": quantity, "price": then_limit}
    _place("OTO", symbol, [_working(side, quantity, limit), then], client_id, account, json_output=json_output)


def bracket(
    side: Side,
    quantity: Quantity,
    symbol: Symbol,
    take: TakeProfit,
    limit: Limit = "",
    stop: Stop = "",
    stop_limit: StopLimit = "",
    trailing: Trailing = "",
    client_id: ClientId = "",
    account: TradingAccount = DEFAULT_ACCOUNT,
    json_output: JsonOption = False,
) -> None:
    """Get in, and have a profit order and a stop to get out: an OTOCO."""
    out = SideChoice.SELL if side is SideChoice.BUY else SideChoice.BUY
    pair = _pair(out, quantity, take=take, stop=stop, stop_limit=stop_limit, trailing=trailing)
    _place("OTOCO", symbol, [_working(side, quantity, limit), *pair], client_id, account, json_output=json_output)


def _other(side: SideChoice) -> str:
    return "SELL" if side is SideChoice.BUY else "BUY"


def _working(side: SideChoice, quantity: str, limit: str) -> dict[str, Any]:
    order: dict[str, Any] = {"side": side.value.upper(), "quantity": quantity, "type": "LIMIT" if limit else "MARKET"}
    return order | ({"price": limit} if limit else {})


def _pair(
    side: SideChoice, quantity: str, *, take: str, stop: str, stop_limit: str, trailing: str
) -> list[dict[str, Any]]:
    if bool(stop) == bool(trailing):
        raise CommandError("Give one of --stop and --trailing.", exit_code=2)
    if stop_limit and not stop:
        raise CommandError("--stop-limit goes with --stop.", exit_code=2)
    common = {"side": side.value.upper(), "quantity": quantity}
    profit = common | {"type": "LIMIT", "price": take}
    if trailing:
        return [profit, common | {"type": "TRAILING_STOP"} | trailing_fields(trailing)]
    if stop_limit:
        return [profit, common | {"type": "STOP_LIMIT", "stop_price": stop, "price": stop_limit}]
    return [profit, common | {"type": "STOP", "stop_price": stop}]


def _place(
    kind: str, symbol: str, orders: list[dict[str, Any]], client_id: str, account: str, *, json_output: bool
) -> None:
    body: dict[str, Any] = {"kind": kind, "symbol": symbol.upper(), "orders": orders, "account": account}
    if client_id:
        body["client_list_id"] = client_id
    answer = connect().post("gateway", "/order-lists", body, wait_ms=_WAIT_MS)
    print_json(answer) if json_output else _print_list(answer)


def _print_list(answer: dict[str, Any]) -> None:
    if "order_list" not in answer:
        console().print(f"{answer['message']} ({answer['link']})", style=BAD)
        return
    found = answer["order_list"]
    style = BAD if found["state"] in {"REJECTED", "REFUSED"} else GOOD if found["state"] == "ALL_DONE" else "bold"
    console().print(f"List {found['list_id']} ({found['kind']} on {found['symbol']}) is [{style}]{found['state']}[/]")
    if answer.get("duplicate"):
        console().print("It existed already; nothing was ordered again.", style=QUIET)
    for order in answer["orders"]:
        price = order.get("price") or order.get("stop_price") or ""
        at = f" at {price}" if price else ""
        console().print(
            f"  {order['order_id']}: {side_text(order['side'])} {order['quantity']} {order['type']}{at} is "
            f"[bold]{order['state']}[/]" + (f"  {order['detail']}" if order.get("detail") else "")
        )


def show(
    list_id: WhichList = None,
    everything: Annotated[bool, typer.Option("--all", help="Ended lists too.")] = False,
    account: Account = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    json_output: JsonOption = False,
) -> None:
    """Show one list and its orders, or the lists, newest first."""
    desk = connect()
    if list_id is not None:
        answer = desk.get("gateway", f"/order-lists/{list_id}", account=account)
        print_json(answer) if json_output else _print_list(answer)
        return
    answer = desk.get("gateway", "/order-lists", account=account, open_only=str(not everything).lower(), limit=limit)
    if json_output:
        print_json(answer)
        return
    rows = rows_of(answer, "order_lists")
    print_table(
        "Order lists" if everything else "Open order lists",
        ["id", "time", "account", "symbol", "kind", "state", "orders"],
        (
            [
                row["list_id"],
                clock_text(row["created_time_ns"]),
                row["account"],
                row["symbol"],
                row["kind"],
                row["state"],
                ", ".join(str(order_id) for order_id in row["order_ids"]),
            ]
            for row in rows
        ),
        empty="There are no order lists yet." if everything else "There are no open order lists.",
        right=("id",),
    )


def cancel(
    list_id: WhichList = None,
    client_id: Annotated[str, typer.Option(help="The list by your own id.")] = "",
    account: Account = "",
    json_output: JsonOption = False,
) -> None:
    """Cancel what is open of a list."""
    if (list_id is None) == (not client_id):
        raise CommandError("Name one list, by its id or with --client-id.", exit_code=2)
    path = f"/order-lists/{list_id}" if list_id is not None else f"/order-lists/by-client-id/{client_id}"
    answer = connect().delete("gateway", path, account=account, wait_ms=_WAIT_MS)
    print_json(answer) if json_output else _print_list(answer)
