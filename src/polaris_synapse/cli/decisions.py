"""Commands about what the agents decided and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, connect
from polaris_synapse.cli.output import JsonOption, clock_text, console, print_json, print_table, rows_of, side_text


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Jarvis", epilog="Example:  polaris decisions --symbol BTCUSDT")(decisions)
    app.command(rich_help_panel="Jarvis", epilog="Examples:  polaris why D0-12  |  polaris why latest")(why)
    app.command(rich_help_panel="Jarvis", epilog="Example:  polaris analyse BTCUSDT")(analyse)


def decisions(
    symbol: Annotated[str, typer.Option(help="Only this instrument.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    json_output: JsonOption = False,
) -> None:
    """List the agents' decisions, newest first."""
    answer = connect().get("gateway", "/decisions", symbol=symbol.upper(), limit=limit)
    if json_output:
        print_json(answer)
        return
    from polaris_synapse.domain.reasons import Reason

    print_table(
        "Decisions",
        ["id", "time", "agent", "symbol", "view", "confidence", "action", "reason"],
        (
            [
                row["decision_id"],
                clock_text(row["time_ns"]),
                row["agent"],
                row["symbol"],
                side_text(row["view"]) if row["view"] != "HOLD" else "HOLD",
                f"{row.get('confidence_ppm', 0) / 10_000:.0f} %",
                row["action"],
                Reason(row["reason"]).name if row.get("reason") else "",
            ]
            for row in rows_of(answer, "decisions")
        ),
        empty="The agents have decided nothing yet; the first decision needs a minute or two of market data.",
        right=("confidence",),
    )


def why(
    decision_id: Annotated[str, typer.Argument(help="A decision's id, or: latest")] = "latest",
    json_output: JsonOption = False,
) -> None:
    """Explain a decision with the facts it stood on."""
    desk = connect()
    if decision_id == "latest":
        newest = rows_of(desk.get("gateway", "/decisions", limit=1), "decisions")
        if not newest:
            raise CommandError("The agents have decided nothing yet.")
        decision_id = str(newest[0]["decision_id"])
    answer: dict[str, Any] = desk.get("llm_agents", f"/decisions/{decision_id}")
    if json_output:
        print_json(answer)
        return
    # Its columns are aligned; a line that is too long is for the terminal to break.
    console().print(answer["explanation"], markup=False, soft_wrap=True)


def analyse(
    symbol: Annotated[str, typer.Argument(help="The instrument, such as BTCUSDT.")],
    agent: Annotated[str, typer.Option(help="The agent.")] = "jarvis",
    json_output: JsonOption = False,
) -> None:
    """Ask an agent for a decision now."""
    answer = connect().post("llm_agents", f"/agents/{agent}/analyse", {"symbol": symbol.upper()})
    if json_output:
        print_json(answer)
        return
    console().print("Asked. See: polaris why latest")
