"""Commands about venues: how they stand, and the differences with them that nothing explains."""

from __future__ import annotations

from typing import Annotated

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
    print_json,
    print_table,
    rows_of,
)

breaks_app = typer.Typer(help="Differences with venues that nothing explains. An open one stops new risk.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Desk", epilog="Example:  polaris venues --json")(venues)
    app.add_typer(breaks_app, name="breaks", rich_help_panel="Stop", invoke_without_command=True)


def venues(json_output: JsonOption = False) -> None:
    """Show every venue: whether it is connected, its open orders, and how quick its answers are."""
    answer = connect().get("execution", "/venues")
    if json_output:
        print_json(answer)
        return
    print_table(
        "Venues",
        ["venue", "mode", "connection", "open orders", "answers in"],
        (
            [
                row["name"],
                f"[{SIMULATED}]simulated[/]" if row["mode"] == "simulated" else row["mode"],
                f"[{GOOD}]connected[/]" if row["connected"] else f"[{BAD}]{row['detail'] or 'not connected'}[/]",
                row["open_orders"],
                f"{row['submit_milliseconds']} ms" if row["submit_milliseconds"] else "",
            ]
            for row in rows_of(answer, "venues")
        ),
        empty="No venue is configured.",
        right=("open orders", "answers in"),
    )
    if not answer["real_trading"]:
        console().print("Real trading is off: orders reach simulated venues only.", style=QUIET)


@breaks_app.callback()
def breaks(context: typer.Context) -> None:
    """Show the open breaks, or resolve one."""
    if context.invoked_subcommand is None:
        _list(everything=False, json_output=False)


@breaks_app.command("list", epilog="Examples:  polaris breaks list  |  polaris breaks list --all --json")
def list_breaks(
    everything: Annotated[bool, typer.Option("--all", help="The resolved ones too.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Show the breaks."""
    _list(everything=everything, json_output=json_output)


def _list(*, everything: bool, json_output: bool) -> None:
    answer = connect().get("execution", "/breaks", open_only="false" if everything else "true")
    if json_output:
        print_json(answer)
        return
    rows = rows_of(answer, "breaks")
    print_table(
        "Breaks",
        ["break", "since", "venue", "symbol", "account", "state", "what differs"],
        (
            [
                row["break_id"],
                clock_text(row["time_ns"]),
                row["venue"],
                row["symbol"],
                row["account"],
                f"[{BAD}]open[/]" if row["is_open"] else "resolved",
                row["detail"],
            ]
            for row in rows
        ),
        empty="The desk and its venues agree.",
    )
    if any(row["is_open"] for row in rows):
        console().print("An open break stops new risk on its symbol. Resolve it with: polaris breaks resolve ID -m …")


@breaks_app.command(epilog="Example:  polaris breaks resolve break-0-1 --note 'booked by hand, ticket 7'")
def resolve(
    break_id: Annotated[str, typer.Argument(help="Its id, from: polaris breaks list")],
    note: Annotated[str, typer.Option("--note", "-m", help="What was found, and where it is accounted for.")] = "",
    json_output: JsonOption = False,
) -> None:
    """Close a break: its difference counts as accounted for elsewhere, and new risk is allowed again."""
    if not note.strip():
        raise CommandError("Say with --note what was found and where it is accounted for.", exit_code=2)
    from urllib.parse import quote

    answer = connect().post("execution", f"/breaks/{quote(break_id, safe='')}/resolve", {"note": note})
    if json_output:
        print_json(answer)
        return
    word = "was closed before" if answer["already"] else "is closed"
    console().print(f"The break {break_id} {word}.", style=GOOD)
