"""Commands about standing instructions: what is to be done when something happens."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from polaris_synapse.cli.connection import CommandError, connect
from polaris_synapse.cli.orders import DEFAULT_ACCOUNT
from polaris_synapse.cli.output import JsonOption, clock_text, console, print_json, print_table, rows_of

standing_app = typer.Typer(help="What is to be done when something happens.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(standing_app, name="standing", rich_help_panel="Jarvis")


@standing_app.command(epilog='Example:  polaris standing add "buy 0.1 BTC if it falls 3 % in an hour" --yes')
def add(
    words: Annotated[list[str], typer.Argument(help="The instruction in plain words.")],
    account: Annotated[
        str, typer.Option("--account", "-a", help="The account.", envvar="POLARIS_ACCOUNT")
    ] = DEFAULT_ACCOUNT,
    yes: Annotated[bool, typer.Option("--yes", help="Set it at once.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Set an instruction: it is shown exactly, and watched for only after your yes."""
    desk = connect()
    answer = desk.post("llm_agents", "/chat", {"message": " ".join(words), "account": account})
    confirmation = answer.get("confirmation")
    if confirmation is None or answer["intent"]["intent"] != "standing_instruction":
        raise CommandError(f"That is no standing instruction. {answer['reply']}")
    if not yes:
        console().print(answer["reply"], markup=False)
        if not sys.stdin.isatty():
            raise CommandError("Nothing was set: add --yes to set this.")
        typer.confirm("Set it?", abort=True)
    body = {"message": f"confirm {confirmation['code']}", "session": answer["session"], "account": account}
    done = desk.post("llm_agents", "/chat", body)
    if json_output:
        print_json(done)
        return
    console().print(done["reply"], markup=False)
    if done.get("reason"):
        raise CommandError("Nothing was set.")


@standing_app.command("list", epilog="Example:  polaris standing list --all")
def list_standing(
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended too.")] = False,
    json_output: JsonOption = False,
) -> None:
    """List what is watched for."""
    answer = connect().get("llm_agents", "/standing", alive_only="false" if everything else "true")
    if json_output:
        print_json(answer)
        return
    print_table(
        "Standing instructions",
        ["id", "account", "state", "what", "until", "order", "reason"],
        (
            [
                row["standing_id"],
                row["account"],
                row["state"],
                row["words"],
                clock_text(row["expires_time_ns"]),
                row["order_id"] or "",
                row["reason"] if row["reason"] != "NONE" else "",
            ]
            for row in rows_of(answer, "standing")
        ),
        empty="Nothing is watched for.",
        long=("what",),
    )


@standing_app.command(epilog="Example:  polaris standing cancel S1")
def cancel(
    standing_id: Annotated[str, typer.Argument(help="The instruction's id, such as S1.")],
    json_output: JsonOption = False,
) -> None:
    """Watch for it no more. An order that it has placed is not touched."""
    answer = connect().delete("llm_agents", f"/standing/{standing_id}")
    if json_output:
        print_json(answer)
        return
    console().print(f"{standing_id.upper()} is cancelled.")
