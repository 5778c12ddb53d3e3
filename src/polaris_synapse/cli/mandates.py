"""Commands about what agents may do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from polaris_synapse.cli.connection import CommandError, DeskClient, connect
from polaris_synapse.cli.output import JsonOption, console, print_json, print_table, rows_of

mandate_app = typer.Typer(help="What agents may do.", no_args_is_help=True)

Account = Annotated[str, typer.Option("--account", "-a", help="The agent's account; empty for its only one.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(mandate_app, name="mandate", rich_help_panel="Jarvis")


@mandate_app.command("list", epilog="Example:  polaris mandate list")
def list_mandates(json_output: JsonOption = False) -> None:
    """List every mandate with what is used of it today."""
    answer = connect().get("llm_agents", "/mandates")
    if json_output:
        print_json(answer)
        return
    rows = []
    for row in rows_of(answer, "mandates"):
        sheet = row["mandate"]
        above = sheet.get("approval_above")
        rows.append(
            [
                sheet["agent"],
                sheet["account"],
                " ".join(sheet["symbols"]),
                sheet["order_value_max"],
                f"{row['used_today']} of {sheet['daily_value_max']}",
                f"asks above {above}" if above is not None else sheet["autonomy"],
                "yes" if sheet.get("enabled", True) else "no",
            ]
        )
    print_table(
        "Mandates",
        ["agent", "account", "symbols", "an order", "today", "autonomy", "in force"],
        rows,
        empty="No agent has a mandate.",
        right=("an order", "today"),
        long=("symbols",),
    )


@mandate_app.command(epilog="Example:  polaris mandate show jarvis")
def show(
    agent: Annotated[str, typer.Argument(help="The agent.")] = "jarvis",
    account: Account = "",
    json_output: JsonOption = False,
) -> None:
    """Show one mandate as YAML, as `polaris mandate set` takes it."""
    desk = connect()
    row = desk.get("llm_agents", f"/mandates/{account or _account_of(desk, agent)}/{agent}")
    if json_output:
        print_json(row)
        return
    sys.stdout.write(row["yaml"])


@mandate_app.command("set", epilog="Example:  polaris mandate set mandate.yaml")
def set_mandate(
    file: Annotated[Path, typer.Argument(help="The YAML file; - for standard input.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Put a mandate from a YAML file in force."""
    from polaris_synapse.agents.mandates import MandateError, read_sheet, sheet_text

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        sheet = read_sheet(text)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}.", exit_code=2) from None
    except MandateError as error:
        raise CommandError(str(error), exit_code=2) from None
    _confirm_and_put(connect(), sheet_text(sheet), yes=yes or str(file) == "-", json_output=json_output)


@mandate_app.command(
    epilog='Example:  polaris mandate write "let the analyst trade BTC and ETH up to 500 USDT an order, 2000 a day, '
    'ask me above 200, weekdays 8-18 utc"'
)
def write(
    words: Annotated[list[str], typer.Argument(help="The mandate in plain words.")],
    yes: Annotated[bool, typer.Option("--yes", help="Put it in force at once.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Say a mandate in plain words: it is shown as YAML, and in force only after your yes. Nothing is guessed."""
    desk = connect()
    answer = desk.post("llm_agents", "/mandates/compile", {"text": " ".join(words)})
    if answer["mandate"] is None:
        for question in answer["questions"]:
            console().print(question, markup=False)
        raise CommandError("Nothing was set. Say it again with the answers.")
    _confirm_and_put(desk, answer["yaml"], yes=yes, json_output=json_output)


@mandate_app.command(epilog="Example:  polaris mandate revoke jarvis")
def revoke(
    agent: Annotated[str, typer.Argument(help="The agent.")], account: Account = "", json_output: JsonOption = False
) -> None:
    """Take a mandate back: the agent may place nothing more."""
    desk = connect()
    owner = account or _account_of(desk, agent)
    sheet = desk.get("llm_agents", f"/mandates/{owner}/{agent}")["mandate"]
    answer = desk.put("llm_agents", f"/mandates/{owner}/{agent}", sheet | {"enabled": False})
    if json_output:
        print_json(answer)
        return
    console().print(f"Agent {agent} has no mandate on account {owner} any more.")


def _confirm_and_put(desk: DeskClient, text: str, *, yes: bool, json_output: bool) -> None:
    import msgspec

    from polaris_synapse.agents.mandates import read_sheet

    sheet = read_sheet(text)
    if not yes:
        if not sys.stdin.isatty():
            console().print(text, markup=False)
            raise CommandError("Nothing was set: add --yes to put this mandate in force.")
        console().print(text, markup=False)
        typer.confirm("Put this mandate in force?", abort=True)
    body = msgspec.to_builtins(sheet)
    answer = desk.put("llm_agents", f"/mandates/{sheet.account}/{sheet.agent}", body)
    if json_output:
        print_json(answer)
        return
    console().print(f"In force: agent {sheet.agent} on account {sheet.account}.")


def _account_of(desk: DeskClient, agent: str) -> str:
    found = [row["mandate"]["account"] for row in rows_of(desk.get("llm_agents", "/mandates"), "mandates")
             if row["mandate"]["agent"] == agent]  # fmt: skip
    if len(found) != 1:
        many = f"Agent {agent} has mandates on {', '.join(found)}: choose one with --account."
        raise CommandError(many if found else f"Agent {agent} has no mandate.")
    return str(found[0])
