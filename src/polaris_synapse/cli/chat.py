"""Talking to the desk from the terminal."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, DeskClient, connect
from polaris_synapse.cli.orders import DEFAULT_ACCOUNT
from polaris_synapse.cli.output import QUIET, JsonOption, console, print_json, print_table

_GOODBYE = frozenset({"exit", "quit", "bye", "q", ":q"})
_LEFT_ALIGNED = frozenset(
    {"account", "symbol", "side", "type", "state", "asset", "limit", "what", "how much", "reason"}
)

Message = Annotated[
    list[str] | None,
    typer.Argument(help="What to say; without it, a conversation begins.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel="Jarvis",
        epilog='Examples:  polaris chat  |  polaris chat "how much BTC do I have?"  |  polaris chat "buy 0.01 BTC"',
    )(chat)


def chat(
    message: Message = None,
    account: Annotated[
        str, typer.Option("--account", "-a", help="The account that is meant; empty for all.", envvar="POLARIS_ACCOUNT")
    ] = DEFAULT_ACCOUNT,
    session: Annotated[str, typer.Option(help="Go on with this conversation.")] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Say yes to the preview at once: for scripts that mean it.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Ask the desk, or order in plain words. Nothing is ordered before you say yes to what it shows you."""
    desk = connect()
    if message:
        answer = _say(desk, " ".join(message), session, account)
        _print(answer, json_output=json_output)
        confirmation = answer.get("confirmation")
        if confirmation and yes:
            _print(_say(desk, f"confirm {confirmation['code']}", answer["session"], account), json_output=json_output)
        elif confirmation and sys.stdin.isatty() and not json_output:
            _converse(desk, answer["session"], account)
        elif confirmation and not json_output:
            again = f"polaris chat --session {answer['session']} yes"
            console().print(f"To do it: {again}", style=QUIET, markup=False)
        return
    _converse(desk, session, account, json_output=json_output)


def _converse(desk: DeskClient, session: str, account: str, *, json_output: bool = False) -> None:
    """Read lines until the end of the input, or goodbye."""
    prompt = sys.stdin.isatty() and not json_output
    if prompt and not session:
        console().print("Say help for what I know, exit to leave.", style=QUIET)
    while True:
        if prompt:
            sys.stdout.write("> ")
            sys.stdout.flush()
        line = sys.stdin.readline()
        said = line.strip()
        if not line or said.lower() in _GOODBYE:
            return
        if not said:
            continue
        try:
            answer = _say(desk, said, session, account)
        except CommandError as error:
            if error.exit_code == 3:
                raise
            console().print(str(error), markup=False)
            continue
        session = answer["session"]
        _print(answer, json_output=json_output)


def _say(desk: DeskClient, message: str, session: str, account: str) -> dict[str, Any]:
    body = {"message": message, "session": session, "account": account}
    answer: dict[str, Any] = desk.post("llm_agents", "/chat", body)
    return answer


def _print(answer: dict[str, Any], *, json_output: bool) -> None:
    if json_output:
        print_json(answer)
        return
    console().print(answer["reply"], markup=False)
    table = answer.get("table")
    if table:
        right = [column for column in table["columns"] if column not in _LEFT_ALIGNED]
        print_table(table["title"], table["columns"], table["rows"], empty="", right=right)
