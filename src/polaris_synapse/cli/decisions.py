"""Commands about what the agents decided and why, and whether the same inputs would be decided the same again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, DeskClient, connect
from polaris_synapse.cli.output import JsonOption, clock_text, console, print_json, print_table, rows_of, side_text

SymbolOption = Annotated[str, typer.Option(help="Only this instrument.")]
LimitOption = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]
IdArgument = Annotated[str, typer.Argument(help="A decision's id, or: latest")]

decisions_app = typer.Typer(help="List the agents' decisions, show one, or decide it again.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(decisions_app, name="decisions", rich_help_panel="Jarvis")
    app.command(rich_help_panel="Jarvis", epilog="Examples:  polaris why D0-12  |  polaris why latest")(why)
    app.command(rich_help_panel="Jarvis", epilog="Example:  polaris analyse BTCUSDT")(analyse)


@decisions_app.callback(invoke_without_command=True, epilog="Example:  polaris decisions --symbol BTCUSDT")
def decisions(
    context: typer.Context, symbol: SymbolOption = "", limit: LimitOption = 20, json_output: JsonOption = False
) -> None:
    """List the agents' decisions, newest first; or see the commands below."""
    if context.invoked_subcommand is None:
        _list(symbol, limit, json_output)
    elif symbol or limit != 20 or json_output:
        raise CommandError(f"Put options behind the command: polaris decisions {context.invoked_subcommand} ...")


@decisions_app.command("list", epilog="Example:  polaris decisions list --symbol BTCUSDT --limit 5")
def list_decisions(symbol: SymbolOption = "", limit: LimitOption = 20, json_output: JsonOption = False) -> None:
    """List decisions, newest first."""
    _list(symbol, limit, json_output)


@decisions_app.command(epilog="Example:  polaris decisions show latest")
def show(decision_id: IdArgument = "latest", json_output: JsonOption = False) -> None:
    """Explain a decision with the facts it stood on, like polaris why."""
    _explain(decision_id, json_output)


@decisions_app.command(epilog="Example:  polaris decisions replay D0-12")
def replay(decision_id: IdArgument = "latest", json_output: JsonOption = False) -> None:
    """Decide again from the stored inputs and answers of language models; fails unless it comes out the same."""
    desk = connect()
    found = desk.get("llm_agents", f"/decisions/{_resolved(desk, decision_id)}/replay")
    if json_output:
        print_json(found)
    elif found["equal"]:
        console().print(f"{found['decision_id']} comes out the same, bit for bit.", markup=False)
        console().print(
            f"{found['view']} with {found['confidence_ppm'] / 10_000:.4f} % confidence, from the case "
            f"{found['case_digest']} and {len(found['call_digests'])} calls of language models.",
            markup=False,
            soft_wrap=True,
        )
    if not found["equal"]:
        why_not = found["problem"] or f"These fields came out differently: {', '.join(found['differences'])}."
        raise CommandError(f"{found['decision_id']} was not reproduced: {why_not}")


@decisions_app.command(epilog="Example:  polaris decisions spending")
def spending(json_output: JsonOption = False) -> None:
    """What language models took today (UTC), by purpose."""
    found = connect().get("llm_agents", "/models")
    if json_output:
        print_json(found)
        return
    print_table(
        "Language models today",
        ["purpose", "tokens", "seconds", "USD"],
        (
            [row["purpose"], str(row["tokens"]), f"{row['milliseconds'] / 1000:.1f}", _usd(row["micro_usd"])]
            for row in rows_of(found, "purposes")
        ),
        empty="No language model was asked today.",
        right=("tokens", "seconds", "USD"),
    )
    names = ", ".join(found["models"]) or "none: the desk decides without"
    console().print(f"Models: {names}. The day's limit is {_usd(found['day_micro_usd_max'])} USD.", markup=False)


def why(decision_id: IdArgument = "latest", json_output: JsonOption = False) -> None:
    """Explain a decision with the facts it stood on."""
    _explain(decision_id, json_output)


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


def _list(symbol: str, limit: int, json_output: bool) -> None:
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


def _explain(decision_id: str, json_output: bool) -> None:
    desk = connect()
    answer: dict[str, Any] = desk.get("llm_agents", f"/decisions/{_resolved(desk, decision_id)}")
    if json_output:
        print_json(answer)
        return
    # Its columns are aligned; a line that is too long is for the terminal to break.
    console().print(answer["explanation"], markup=False, soft_wrap=True)


def _resolved(desk: DeskClient, decision_id: str) -> str:
    """The id that was meant."""
    if decision_id != "latest":
        return decision_id
    newest = rows_of(desk.get("gateway", "/decisions", limit=1), "decisions")
    if not newest:
        raise CommandError("The agents have decided nothing yet.")
    return str(newest[0]["decision_id"])


def _usd(micro_usd: int) -> str:
    return f"{micro_usd // 1_000_000}.{micro_usd % 1_000_000:06d}"
