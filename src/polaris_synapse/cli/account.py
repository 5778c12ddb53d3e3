"""Commands about what accounts hold and earn."""

from __future__ import annotations

from typing import Annotated

import typer

from polaris_synapse.cli.connection import connect
from polaris_synapse.cli.orders import DEFAULT_ACCOUNT, Account, TradingAccount
from polaris_synapse.cli.output import JsonOption, console, grouped, print_json, print_table, rows_of, signed


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Look", epilog="Example:  polaris positions --account main")(positions)
    app.command(rich_help_panel="Look", epilog="Example:  polaris balances")(balances)
    app.command(rich_help_panel="Look", epilog="Example:  polaris pnl --json")(pnl)
    app.command(
        rich_help_panel="Operate",
        epilog="Examples:  polaris funds 5000 USDT  |  polaris funds --account main -- -0.5 BTC",
    )(funds)


def positions(account: Account = "", json_output: JsonOption = False) -> None:
    """Show what has been traded into, at what cost, and what it earns."""
    answer = connect().get("gateway", "/positions", account=account)
    if json_output:
        print_json(answer)
        return
    print_table(
        "Positions",
        ["account", "symbol", "quantity", "average price", "mark", "unrealised", "realised", "fees"],
        (
            [
                row["account"],
                row["symbol"],
                row["quantity"],
                grouped(row["average_price"]) if row.get("average_price") else "",
                grouped(row["mark_price"]) if row.get("mark_price") else "no price",
                signed(grouped(row["unrealised_pnl"])) if row.get("unrealised_pnl") else "",
                signed(grouped(row["realised_pnl"])),
                grouped(row["fees"]),
            ]
            for row in rows_of(answer, "positions")
        ),
        empty="There are no positions yet.",
        right=("quantity", "average price", "mark", "unrealised", "realised", "fees"),
    )


def balances(account: Account = "", json_output: JsonOption = False) -> None:
    """Show what accounts hold, and how much of it open orders have reserved."""
    answer = connect().get("gateway", "/balances", account=account)
    if json_output:
        print_json(answer)
        return
    print_table(
        "Balances",
        ["account", "asset", "total", "free", "reserved"],
        (
            [row["account"], row["asset"], row["total"], row["free"], row["reserved"]]
            for row in rows_of(answer, "balances")
        ),
        empty="There are no balances yet.",
        right=("total", "free", "reserved"),
    )


def pnl(account: Account = "", json_output: JsonOption = False) -> None:
    """Show equity, profit and loss, and the prices they were worked out with."""
    answer = connect().get("gateway", "/pnl", account=account)
    if json_output:
        print_json(answer)
        return
    rows = rows_of(answer, "accounts")
    print_table(
        "Profit and loss",
        ["account", "asset", "equity", "today", "unrealised", "realised", "fees"],
        (
            [
                row["account"],
                row["asset"],
                grouped(row["equity"]),
                signed(grouped(row["day_pnl"])),
                signed(grouped(row["unrealised_pnl"])),
                signed(grouped(row["realised_pnl"])),
                grouped(row["fees"]),
            ]
            for row in rows
        ),
        empty="There is nothing to show yet.",
        right=("equity", "today", "unrealised", "realised", "fees"),
    )


def funds(
    amount: Annotated[str, typer.Argument(help="How much to pay in; negative to pay out.")],
    asset: Annotated[str, typer.Argument(help="The asset, such as USDT.")],
    account: TradingAccount = DEFAULT_ACCOUNT,
    reference: Annotated[str, typer.Option(help="Your reference; the same one again moves nothing.")] = "",
    json_output: JsonOption = False,
) -> None:
    """Pay paper money into an account, or out of it."""
    import uuid

    body = {
        "account": account,
        "asset": asset.upper(),
        "amount": amount,
        "reference": reference or f"cli-{uuid.uuid4().hex[:16]}",
    }
    answer = connect().post("gateway", "/funds", body)
    if json_output:
        print_json(answer)
        return
    if answer["duplicate"]:
        console().print(f"Nothing was moved: the reference {answer['reference']} had its effect before.")
        return
    console().print(f"Moved {amount} {asset.upper()} on account {account}.")
