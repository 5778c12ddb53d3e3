"""Commands about the market: instruments, book and candles."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, connect
from polaris_synapse.cli.output import (
    BAD,
    GOOD,
    QUIET,
    JsonOption,
    clock_text,
    console,
    grouped,
    print_json,
    print_table,
    rows_of,
)

Symbol = Annotated[str, typer.Argument(help="The instrument, such as BTCUSDT.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Look", epilog="Examples:  polaris book BTCUSDT  |  polaris book ETHUSDT --watch")(book)
    app.command(
        rich_help_panel="Look",
        epilog="Examples:  polaris instruments  |  polaris instruments halt BTCUSDT.INT  |  "
        "polaris instruments auction BTCUSDT.INT",
    )(instruments)
    app.command(rich_help_panel="Look", epilog="Example:  polaris candles BTCUSDT --interval 1m --limit 80")(candles)


class InstrumentAction(StrEnum):
    """What to do with instruments."""

    LIST = "list"
    HALT = "halt"
    RESUME = "resume"
    CANCEL_ONLY = "cancel-only"
    AUCTION = "auction"


_STATUSES = {
    InstrumentAction.HALT: "HALTED",
    InstrumentAction.RESUME: "TRADING",
    InstrumentAction.CANCEL_ONLY: "CANCEL_ONLY",
    InstrumentAction.AUCTION: "AUCTION",
}


def instruments(
    action: Annotated[InstrumentAction, typer.Argument(help="list; the others take a symbol.")] = InstrumentAction.LIST,
    symbol: Annotated[str, typer.Argument(help="The instrument to halt, resume or call.")] = "",
    json_output: JsonOption = False,
) -> None:
    """List what can be traded, where and at which cost; or halt, restrict, call and resume an instrument."""
    if action is not InstrumentAction.LIST:
        _set_status(action, symbol, json_output=json_output)
        return
    answer = connect().get("gateway", "/instruments")
    if json_output:
        print_json(answer)
        return
    print_table(
        "Instruments",
        ["symbol", "venue", "status", "tick", "lot", "smallest order", "fee", "mark"],
        (
            [
                row["symbol"],
                row["venue"],
                row["status"],
                row["tick_size"],
                row["lot_size"],
                f"{row['min_notional']} {row['quote']}",
                f"{Decimal(row['taker_fee_ppm']) / 10_000:f} %",
                grouped(row["mark_price"]) if row.get("mark_price") else "no price",
            ]
            for row in rows_of(answer, "instruments")
        ),
        empty="There are no instruments.",
        right=("tick", "lot", "smallest order", "fee", "mark"),
    )


def _set_status(action: InstrumentAction, symbol: str, *, json_output: bool) -> None:
    if not symbol:
        raise CommandError(f"Say which instrument, such as: polaris instruments {action} BTCUSDT.INT", exit_code=2)
    answer = connect().put("matching", f"/symbols/{symbol.upper()}/status", {"status": _STATUSES[action]})
    if json_output:
        print_json(answer)
        return
    console().print(f"{answer['symbol']} is {answer['status']}" + ("." if answer["changed"] else ", as it was before."))
    if action is not InstrumentAction.RESUME:
        console().print(f"Go on with: polaris instruments resume {answer['symbol']}")


def book(
    symbol: Symbol,
    depth: Annotated[int, typer.Option(min=1, max=50, help="Levels a side.")] = 10,
    watch: Annotated[bool, typer.Option("--watch", help="Keep it up to date until Ctrl-C.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Draw the order book."""
    desk = connect()

    def read() -> dict[str, Any]:
        answer: dict[str, Any] = desk.get("market_data", f"/book/{symbol.upper()}", depth=depth)
        return answer

    if json_output:
        print_json(read())
        return
    if not watch:
        console().print(_draw_book(read()))
        return
    import time

    from rich.live import Live

    with Live(_draw_book(read()), console=console(), refresh_per_second=5, screen=False) as live:
        while True:
            time.sleep(0.25)
            live.update(_draw_book(read()))


def _draw_book(answer: dict[str, Any]) -> str:
    from polaris_synapse.cli.plots import bar

    asks = [(level[0], Decimal(level[1])) for level in answer["asks"]]
    bids = [(level[0], Decimal(level[1])) for level in answer["bids"]]
    widest = max((quantity for _, quantity in asks + bids), default=Decimal(1)) or Decimal(1)
    places = max((len(format(quantity, "f").partition(".")[2]) for _, quantity in asks + bids), default=0)
    state = "healthy" if answer.get("healthy", True) else f"[{BAD}]not usable: {answer.get('cause', '')}[/]"
    lines = [f"[bold]{answer['symbol']}[/]  [{QUIET}]{answer.get('source', '')}, {state}[/]"]
    for colour, levels in ((BAD, list(reversed(asks))), (GOOD, bids)):
        for price, quantity in levels:
            share = bar(float(quantity / widest), 30)
            lines.append(f"{grouped(price):>14}  {quantity:>14.{places}f}  [{colour}]{share}[/]")
        if colour == BAD and asks and bids:
            spread = Decimal(asks[0][0]) - Decimal(bids[0][0])
            lines.append(f"[{QUIET}]{'spread ' + format(spread, 'f'):>14}[/]")
    if not asks and not bids:
        lines.append(f"[{QUIET}]The book is empty.[/]")
    return "\n".join(lines)


def candles(
    symbol: Symbol,
    interval: Annotated[str, typer.Option(help="1s, 1m, 5m, 15m, 1h, 4h or 1d.")] = "1m",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 60,
    json_output: JsonOption = False,
) -> None:
    """Draw candles."""
    answer = connect().get("market_data", f"/candles/{symbol.upper()}", interval=interval, limit=limit)
    if json_output:
        print_json(answer)
        return
    from polaris_synapse.cli.plots import CandleShape, candle_chart

    rows = sorted(rows_of(answer, "candles"), key=lambda row: row["open_time_ns"])
    if not rows:
        console().print(f"There is no {interval} candle of {symbol.upper()} yet.", style=QUIET)
        return
    shown = rows[-max(console().width - 12, 10) :]
    shapes = [CandleShape(*(Decimal(row[name]) for name in ("open", "high", "low", "close"))) for row in shown]
    last = shown[-1]
    console().print(f"[bold]{symbol.upper()}[/] {interval}  last {grouped(last['close'])}")
    for line in candle_chart(shapes):
        console().print(line, no_wrap=True, crop=True)
    first, final = clock_text(shown[0]["open_time_ns"]), clock_text(last["open_time_ns"])
    console().print(f"{first}{' ' * max(len(shown) - 16, 1)}{final} UTC", style=QUIET)
