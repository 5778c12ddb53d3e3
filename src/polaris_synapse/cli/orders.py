"""Commands that place, change, cancel and list orders."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, connect
from polaris_synapse.cli.output import (
    BAD,
    GOOD,
    QUIET,
    SIMULATED,
    JsonOption,
    clock_text,
    console,
    grouped,
    print_json,
    print_table,
    rows_of,
    side_text,
)

_NUMBER = re.compile(r"^\d+(\.\d+)?$")
_WAIT_MS = 1500

#: Which account a read covers.
Account = Annotated[str, typer.Option("--account", "-a", help="Only this account.")]
#: Which account a command trades on.
TradingAccount = Annotated[str, typer.Option("--account", "-a", help="The account to use.", envvar="POLARIS_ACCOUNT")]
DEFAULT_ACCOUNT = "main"


class SideChoice(StrEnum):
    """The two sides, as typed."""

    BUY = "buy"
    SELL = "sell"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        rich_help_panel="Trade",
        epilog=(
            "Examples:  polaris order buy 0.01 BTCUSDT  |  polaris order sell 0.5 ETHUSDT --limit 2690 --post-only  |  "
            "polaris order buy BTCUSDT --spend 500  |  polaris order sell 0.01 BTCUSDT --stop 60000"
        ),
    )(order)
    app.command(
        rich_help_panel="Trade", epilog="Examples:  polaris cancel 2048  |  polaris cancel --all --symbol BTCUSDT"
    )(cancel)
    app.command(rich_help_panel="Trade", epilog="Example:  polaris replace 2048 --limit 61500")(replace)
    app.command(rich_help_panel="Look", epilog="Examples:  polaris orders  |  polaris orders --all --json")(orders)
    app.command(rich_help_panel="Look", epilog="Example:  polaris fills --symbol BTCUSDT")(fills)


def order(
    side: Annotated[SideChoice, typer.Argument(help="buy or sell")],
    what: Annotated[
        list[str], typer.Argument(help="Quantity and symbol, such as: 0.01 BTCUSDT", metavar="QUANTITY SYMBOL")
    ],
    limit: Annotated[str, typer.Option(help="Limit price.")] = "",
    stop: Annotated[str, typer.Option(help="Stop price: becomes a stop, or with --limit a stop-limit order.")] = "",
    take_profit: Annotated[str, typer.Option(help="Take-profit price.")] = "",
    trailing: Annotated[str, typer.Option(help="Trailing stop: an offset such as 50, or 0.5%.")] = "",
    spend: Annotated[
        str, typer.Option(help="Market order for this amount of the quote asset, without a quantity.")
    ] = "",
    tif: Annotated[str, typer.Option(help="Time in force: GTC, IOC, FOK, GTD or DAY.")] = "GTC",
    expires: Annotated[str, typer.Option(help="When a GTD order ends, such as 2026-12-01T00:00:00Z.")] = "",
    post_only: Annotated[bool, typer.Option("--post-only", help="Refuse the order if it would take.")] = False,
    display: Annotated[str, typer.Option(help="Iceberg: the quantity to show.")] = "",
    client_id: Annotated[str, typer.Option(help="Your own id; the same one again never orders twice.")] = "",
    account: TradingAccount = DEFAULT_ACCOUNT,
    preview: Annotated[bool, typer.Option("--preview", help="Say what it would cost; place nothing.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Place an order and say what became of it."""
    body = _order_body(side, what, limit=limit, stop=stop, take_profit=take_profit, trailing=trailing, spend=spend)
    options = {
        "time_in_force": "" if body["type"] == "MARKET" and tif.upper() == "GTC" else tif.upper(),
        "expire_time": expires,
        "post_only": "REJECT" if post_only else "",
        "display_quantity": display,
        "client_order_id": client_id,
        "account": account,
    }
    body.update({name: value for name, value in options.items() if value})
    if preview:
        answer = connect().post("gateway", "/orders/preview", body)
        print_json(answer) if json_output else _print_preview(answer)
        return
    answer = connect().post("gateway", "/orders", body, wait_ms=_WAIT_MS)
    print_json(answer) if json_output else _print_order(answer)


def _order_body(
    side: SideChoice, what: list[str], *, limit: str, stop: str, take_profit: str, trailing: str, spend: str
) -> dict[str, Any]:
    numbers = [word for word in what if _NUMBER.match(word)]
    symbols = [word.upper() for word in what if not _NUMBER.match(word)]
    if len(symbols) != 1 or len(numbers) > 1:
        raise CommandError("Say how much of what, such as: polaris order buy 0.01 BTCUSDT", exit_code=2)
    if bool(numbers) == bool(spend):
        raise CommandError("Give either a quantity or --spend, not both.", exit_code=2)
    if sum(1 for given in (stop, take_profit, trailing) if given) > 1:
        raise CommandError("Give one of --stop, --take-profit and --trailing.", exit_code=2)
    body: dict[str, Any] = {"symbol": symbols[0], "side": side.value.upper()}
    body["quantity" if numbers else "quote_amount"] = numbers[0] if numbers else spend
    if stop:
        body.update(type="STOP_LIMIT" if limit else "STOP", stop_price=stop)
    elif take_profit:
        body.update(type="TAKE_PROFIT_LIMIT" if limit else "TAKE_PROFIT", stop_price=take_profit)
    elif trailing:
        body.update(type="TRAILING_STOP", **trailing_fields(trailing))
    else:
        body["type"] = "LIMIT" if limit else "MARKET"
    if limit:
        body["price"] = limit
    return body


def trailing_fields(text: str) -> dict[str, Any]:
    """An offset such as 50 or 0.5% as a request's fields. Raises CommandError."""
    if not text.endswith("%"):
        return {"trailing_offset": text}
    from decimal import Decimal, InvalidOperation

    try:
        bps = Decimal(text[:-1]) * 100
    except InvalidOperation:
        raise CommandError(f"{text} is not a percentage such as 0.5%.", exit_code=2) from None
    if bps != int(bps) or bps <= 0:
        raise CommandError("A trailing percentage has at most two decimals and is above zero.", exit_code=2)
    return {"trailing_offset_bps": int(bps)}


def _print_order(answer: dict[str, Any]) -> None:
    found = answer.get("order", answer)
    state = found["state"]
    style = GOOD if state == "FILLED" else BAD if state in {"REJECTED", "REFUSED"} else "bold"
    price = f" at {found['price']}" if found.get("price") else ""
    amount = found.get("quantity") or f"{found.get('quote_amount')} worth"
    line = f"{side_text(found['side'])} {amount} {found['symbol']} {found['type']}{price}"
    console().print(f"Order {found['order_id']}: {line} is [{style}]{state}[/]")
    if answer.get("duplicate"):
        console().print("It existed already; nothing was ordered again.", style=QUIET)
    if found.get("filled_quantity", "0") != "0":
        average = found.get("average_price") or ""
        console().print(f"Filled {found['filled_quantity']} at {grouped(average) if average else '?'} on average.")
    if found.get("detail"):
        console().print(str(found["detail"]), style=QUIET)
    for fill in answer.get("fills", []):
        mark = f"[{SIMULATED}]simulated[/] " if fill.get("simulated") else ""
        console().print(f"  {mark}{fill['quantity']} at {fill['price']}: {fill.get('how', '')}", style=QUIET)


def _print_preview(answer: dict[str, Any]) -> None:
    console().print("Nothing was ordered. It would be:", style="bold")
    for name, value in answer.items():
        if value not in (None, ""):
            console().print(f"  {name.replace('_', ' ')}: {value}")


def cancel(
    order_id: Annotated[int | None, typer.Argument(help="The order's id.", show_default=False)] = None,
    client_id: Annotated[str, typer.Option(help="The order by your own id.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Cancel all open orders that match.")] = False,
    symbol: Annotated[str, typer.Option(help="With --all: only this instrument.")] = "",
    side: Annotated[SideChoice | None, typer.Option(help="With --all: only this side.")] = None,
    account: Account = "",
    json_output: JsonOption = False,
) -> None:
    """Cancel one order, or all of them."""
    if sum((order_id is not None, bool(client_id), everything)) != 1:
        raise CommandError("Name one order, or use --all.", exit_code=2)
    desk = connect()
    if everything:
        answer = desk.delete(
            "gateway", "/orders", account=account, symbol=symbol.upper(), side=side.value.upper() if side else ""
        )
        ids = answer.get("order_ids", [])
        text = f"Asked to cancel {len(ids)} open orders." if ids else "There was no open order to cancel."
    else:
        path = f"/orders/{order_id}" if order_id is not None else f"/orders/by-client-id/{client_id}"
        answer = desk.delete("gateway", path, account=account, wait_ms=_WAIT_MS)
        found = answer.get("order", answer)
        text = f"Order {found['order_id']} is {found['state']}."
    print_json(answer) if json_output else console().print(text)


def replace(
    order_id: Annotated[int, typer.Argument(help="The order's id.")],
    quantity: Annotated[str, typer.Option(help="The new total quantity.")] = "",
    limit: Annotated[str, typer.Option(help="The new limit price.")] = "",
    stop: Annotated[str, typer.Option(help="The new stop price.")] = "",
    json_output: JsonOption = False,
) -> None:
    """Change an open order. Reducing its quantity alone keeps its place in the queue."""
    wanted = {"quantity": quantity, "price": limit, "stop_price": stop}
    body = {name: value for name, value in wanted.items() if value}
    if not body:
        raise CommandError("Say what to change: --quantity, --limit or --stop.", exit_code=2)
    answer = connect().patch("gateway", f"/orders/{order_id}?wait_ms={_WAIT_MS}", body)
    print_json(answer) if json_output else _print_order(answer)


def orders(
    everything: Annotated[bool, typer.Option("--all", help="Ended orders too.")] = False,
    symbol: Annotated[str, typer.Option(help="Only this instrument.")] = "",
    account: Account = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    json_output: JsonOption = False,
) -> None:
    """List open orders, newest first."""
    path = "/orders" if everything else "/open-orders"
    answer = connect().get("gateway", path, account=account, symbol=symbol.upper(), limit=limit)
    if json_output:
        print_json(answer)
        return
    rows = rows_of(answer, "orders")
    cells = {
        "id": [row["order_id"] for row in rows],
        "time": [clock_text(row["created_time_ns"]) for row in rows],
        "account": [row["account"] for row in rows],
        "symbol": [row["symbol"] for row in rows],
        "side": [side_text(row["side"]) for row in rows],
        "type": [row["type"] for row in rows],
        "price": [row.get("price") or row.get("stop_price") or _trail(row) for row in rows],
        "quantity": [row.get("quantity") for row in rows],
        "filled": [row.get("filled_quantity") for row in rows],
        "state": [row["state"] for row in rows],
        "reason": ["" if row.get("reason") in (None, "NONE") else row["reason"] for row in rows],
    }
    if not everything:
        del cells["reason"]
    print_table(
        "Orders" if everything else "Open orders",
        list(cells),
        zip(*cells.values(), strict=True),
        empty="There are no open orders." if not everything else "There are no orders yet.",
        right=("id", "price", "quantity", "filled"),
    )


def _trail(row: dict[str, Any]) -> str:
    """How far a trailing stop stays behind the market."""
    if row.get("trailing_offset"):
        return f"±{row['trailing_offset']}"
    return f"±{row['trailing_offset_bps']} bps" if row.get("trailing_offset_bps") else ""


def fills(
    symbol: Annotated[str, typer.Option(help="Only this instrument.")] = "",
    account: Account = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    json_output: JsonOption = False,
) -> None:
    """List fills and how each was made, newest first."""
    answer = connect().get("gateway", "/executions", account=account, symbol=symbol.upper(), limit=limit)
    if json_output:
        print_json(answer)
        return
    rows = rows_of(answer, "executions")
    if not rows:
        console().print("Nothing has filled yet.", style=QUIET)
    for row in rows:
        mark = f"[{SIMULATED}]simulated[/]: " if row["simulated"] else ""
        console().print(
            f"{clock_text(row['time_ns'])}  order {row['order_id']} on {row['account']}: {side_text(row['side'])} "
            f"{row['quantity']} {row['symbol']} at [bold]{row['price']}[/], {row['liquidity'].lower()}, "
            f"fee {row['fee']} {row['fee_asset']}"
        )
        console().print(f"          {mark}{row['how']}", style=QUIET)
