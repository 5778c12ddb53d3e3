"""Commands that stop trading, and let it go on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, DeskClient, connect
from polaris_synapse.cli.output import BAD, GOOD, JsonOption, clock_text, console, print_json, print_table, rows_of

Note = Annotated[str, typer.Option("--note", "-m", help="Why, for the audit log.")]
Everyone = Annotated[str, typer.Option("--account", "-a", help="Only this account.")]


class BreakerAction(StrEnum):
    """What to do with the breaker."""

    STATUS = "status"
    TRIP = "trip"
    RESET = "reset"


class HaltLevel(StrEnum):
    """How hard to stop."""

    NO_NEW_RISK = "no-new-risk"
    CANCEL_ALL = "cancel-all"


#: How long a halt waits for the cancels that it asked for before it reports what is still open.
_READ_BACK_SECONDS = 5
#: The exit code where trading is stopped, and something may be open all the same.
_STOPPED_IN_PART = 4
_LEVELS = {"off": 0, HaltLevel.NO_NEW_RISK: 1, HaltLevel.CANCEL_ALL: 2, "flatten": 3}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        rich_help_panel="Stop",
        epilog="Examples:  polaris breaker  |  polaris breaker trip --scope symbol:BTCUSDT  |  polaris breaker reset",
    )(breaker)
    app.command(rich_help_panel="Stop", epilog="Example:  polaris halt --level no-new-risk")(halt)
    app.command(rich_help_panel="Stop", epilog="Example:  polaris flatten --account main --yes")(flatten)
    app.command(rich_help_panel="Stop", epilog="Example:  polaris resume --note 'checked the venue'")(resume)


def breaker(
    action: Annotated[BreakerAction, typer.Argument(help="status, trip or reset")] = BreakerAction.STATUS,
    scope: Annotated[str, typer.Option(help="'*', symbol:BTCUSDT or account:main")] = "*",
    note: Note = "",
    json_output: JsonOption = False,
) -> None:
    """Show, trip or reset the circuit breaker."""
    desk = connect()
    if action is BreakerAction.STATUS:
        answer = desk.get("risk", "/circuit-breaker")
        if json_output:
            print_json(answer)
            return
        print_table(
            "Tripped circuit breakers",
            ["scope", "since", "reason", "note", "by"],
            (
                [f"[{BAD}]{row['scope']}[/]", clock_text(row["time_ns"]), row["reason"], row["note"], row["actor"]]
                for row in rows_of(answer, "tripped")
            ),
            empty="No circuit breaker has tripped.",
            long=("note",),
        )
        for account in answer.get("stopped_accounts", []):
            console().print(f"Account {account} is stopped for repeating one order.", style=BAD)
        return
    body = {"scope": scope, "note": note}
    if action is BreakerAction.TRIP:
        answer = desk.stop("/circuit-breaker/activate", body)
    else:
        answer = desk.post("risk", "/circuit-breaker/reset", body)
    if json_output:
        print_json(answer)
        return
    done = "tripped: no new orders" if action is BreakerAction.TRIP else "closed again"
    if not answer.get("changed", True):
        done = "tripped already" if action is BreakerAction.TRIP else "closed already; see: polaris breaker"
    console().print(f"The circuit breaker for {scope} is {done}.")


def halt(
    level: Annotated[HaltLevel, typer.Option(help="How hard to stop.")] = HaltLevel.CANCEL_ALL,
    account: Everyone = "*",
    note: Note = "",
    json_output: JsonOption = False,
) -> None:
    """Stop trading: no new orders, and every open order is cancelled.

    Exit code 4: trading is stopped, but orders may still be open; 1: nothing was stopped; 3: no desk runs here.
    """
    _set_level(_LEVELS[level], account, note, json_output)


def flatten(
    account: Everyone = "*",
    note: Note = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Stop trading and close every position at the market."""
    if not yes:
        typer.confirm("This cancels every open order and closes every position at the market. Go on?", abort=True)
    _set_level(_LEVELS["flatten"], account, note, json_output)


def resume(account: Everyone = "*", note: Note = "", json_output: JsonOption = False) -> None:
    """Let trading go on after a halt or a flatten."""
    _set_level(_LEVELS["off"], account, note, json_output)


def _set_level(level: int, account: str, note: str, json_output: bool) -> None:
    desk = connect()
    body = {"level": level, "account": account, "note": note}
    answer: dict[str, Any] = desk.stop("/kill-switch", body) if level else desk.post("risk", "/kill-switch", body)
    if not answer.get("journaled", True):
        # Nothing can be read back: what is open stands in the read models as it stood before.
        if json_output:
            print_json(answer)
        else:
            console().print(f"Trading is stopped. {answer['detail']}", style=BAD)
        raise typer.Exit(_STOPPED_IN_PART)
    try:
        left = _open_orders_left(desk, account) if level >= _LEVELS[HaltLevel.CANCEL_ALL] else []
    except CommandError as error:
        # The stop is in force, and nobody may read from what follows that it is not.
        if json_output:
            print_json({**answer, "still_open": None})
        else:
            _print_level(level, account, answer.get("order_ids", []), None)
            console().print(f"What is still open cannot be read back: {error} See it with: polaris orders", style=BAD)
        raise typer.Exit(_STOPPED_IN_PART) from None
    if json_output:
        print_json({**answer, "still_open": left})
    else:
        _print_level(level, account, answer.get("order_ids", []), left)
    if left:
        raise typer.Exit(_STOPPED_IN_PART)


def _print_level(level: int, account: str, cancelled: list[int], left: list[int] | None) -> None:
    """``left`` None: what is still open is not known."""
    who = "every account" if account == "*" else f"account {account}"
    if level == 0:
        console().print(f"Trading goes on for {who}.", style=GOOD)
        return
    words = {1: "no new risk is taken", 2: "open orders are cancelled", 3: "positions are being closed"}
    console().print(f"Trading is stopped for {who}: {words[level]}.", style=BAD)
    if level >= _LEVELS[HaltLevel.CANCEL_ALL]:
        listed = ": " + ", ".join(str(order_id) for order_id in cancelled) if cancelled else ""
        console().print(f"Cancelled {len(cancelled)} open orders{listed}.")
        if left:
            console().print(f"STILL OPEN after {_READ_BACK_SECONDS} s: {', '.join(map(str, left))}.", style=BAD)
        elif left is not None:
            console().print("Read back: no order is open.")
    console().print("Go on with: polaris resume" + ("" if account == "*" else f" --account {account}"))


def _open_orders_left(desk: DeskClient, account: str) -> list[int]:
    """Ids still open once the cancels had time to work; empty as soon as none is."""
    import time

    deadline = time.monotonic() + _READ_BACK_SECONDS
    while True:
        answer = desk.get("gateway", "/open-orders", account="" if account == "*" else account, limit=1000)
        left = [int(row["order_id"]) for row in rows_of(answer, "orders")]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)
