"""Commands about orders of agents that wait for a person."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, DeskClient, connect
from polaris_synapse.cli.output import JsonOption, clock_text, console, print_json, print_table, rows_of

approvals_app = typer.Typer(help="Orders of agents that wait for a person.", no_args_is_help=True)

RequestId = Annotated[str, typer.Argument(help="The request's number, from: polaris approvals list")]
Token = Annotated[str, typer.Option("--token", help="A signed token instead of a number.")]
Note = Annotated[str, typer.Option("--note", "-m", help="Why, for the audit log.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(approvals_app, name="approvals", rich_help_panel="Jarvis")


@approvals_app.command("list", epilog="Example:  polaris approvals list --all")
def list_requests(
    everything: Annotated[bool, typer.Option("--all", help="Decided ones too.")] = False,
    json_output: JsonOption = False,
) -> None:
    """List the orders that wait, newest first."""
    answer = connect().get("llm_agents", "/approvals", state="" if everything else "PENDING")
    if json_output:
        print_json(answer)
        return
    print_table(
        "Requests for approval",
        ["id", "time", "agent", "account", "order", "worth", "state", "seconds left", "by"],
        (
            [
                row["approval_id"],
                clock_text(row["created_time_ns"]),
                row["agent"],
                row["account"],
                row["words"],
                row["value"],
                row["state"],
                row["seconds_left"] or "",
                row["decided_by"],
            ]
            for row in rows_of(answer, "approvals")
        ),
        empty="Nothing waits for approval.",
        right=("worth", "seconds left"),
        long=("order",),
    )


@approvals_app.command(epilog="Example:  polaris approvals show 3")
def show(request_id: RequestId, json_output: JsonOption = False) -> None:
    """Show one request, with the hash that a decision is bound to."""
    answer = connect().get("llm_agents", f"/approvals/{request_id}")
    if json_output:
        print_json(answer)
        return
    _print(answer)


@approvals_app.command(epilog="Examples:  polaris approvals approve 3  |  polaris approvals approve --token TOKEN")
def approve(
    request_id: Annotated[str, typer.Argument(help="The request's number.")] = "",
    token: Token = "",
    note: Note = "",
    order_hash: Annotated[str, typer.Option("--hash", help="Only if the order has this hash.")] = "",
    json_output: JsonOption = False,
) -> None:
    """Approve exactly the order that the request shows, and place it."""
    _decide(request_id, token, note, order_hash, approve=True, json_output=json_output)


@approvals_app.command(epilog="Example:  polaris approvals reject 3 --note 'not before the news'")
def reject(
    request_id: Annotated[str, typer.Argument(help="The request's number.")] = "",
    token: Token = "",
    note: Note = "",
    order_hash: Annotated[str, typer.Option("--hash", help="Only if the order has this hash.")] = "",
    json_output: JsonOption = False,
) -> None:
    """Reject an order that waits."""
    _decide(request_id, token, note, order_hash, approve=False, json_output=json_output)


@approvals_app.command(epilog="Example:  polaris approvals link 3")
def link(
    request_id: RequestId,
    rejecting: Annotated[bool, typer.Option("--reject", help="A token that rejects.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Make a signed token with which you can decide later, over any messenger. It works once."""
    answer = connect().post("llm_agents", f"/approvals/{request_id}/link", {"approve": not rejecting})
    if json_output:
        print_json(answer)
        return
    console().print(answer["command"], markup=False, soft_wrap=True)
    console().print(f"Works once, until {clock_text(answer['expires_time_ns'])}. Whoever has it decides as you.")


def _decide(request_id: str, token: str, note: str, order_hash: str, *, approve: bool, json_output: bool) -> None:
    if bool(request_id) == bool(token):
        raise CommandError("Give a request's number or a --token.", exit_code=2)
    desk = connect()
    if token:
        answer = _with_token(desk, token, approve=approve)
    else:
        verb = "approve" if approve else "reject"
        # The hash of what is shown here: should the desk hold another order, it refuses.
        wanted = order_hash or desk.get("llm_agents", f"/approvals/{request_id}")["order_hash"]
        body = {"order_hash": wanted, "note": note}
        answer = desk.post("llm_agents", f"/approvals/{request_id}/{verb}", body)
    if json_output:
        print_json(answer)
        return
    _print(answer)


def _with_token(desk: DeskClient, token: str, *, approve: bool) -> dict[str, Any]:
    meaning = desk.post("llm_agents", "/approvals/token/meaning", {"token": token})
    if meaning["approve"] is not approve:
        raise CommandError("That token says the opposite; nothing was done.")
    answer: dict[str, Any] = desk.post("llm_agents", "/approvals/token", {"token": token})
    return answer


def _print(row: dict[str, Any]) -> None:
    lines = [
        f"Request {row['approval_id']}: {row['state']}",
        f"  order     {row['words']}",
        f"  account   {row['account']}, agent {row['agent']}, submitted by {row['actor']}",
        f"  worth     {row['value']}",
        f"  hash      {row['order_hash']}",
        f"  why asked {row['detail']}" if row["state"] == "PENDING" else "",
        f"  decision  {row['order']['decision_id']}" if row["order"].get("decision_id") else "",
        f"  left      {row['seconds_left']} seconds" if row["state"] == "PENDING" else "",
        f"  decided   by {row['decided_by']} ({row['decided_role']}) via {row['via']}" if row["decided_by"] else "",
        f"  order id  {row['order_id']}" if row["order_id"] else "",
        f"  {row['reason']}: {row['detail']}" if row["reason"] != "NONE" else "",
    ]
    console().print("\n".join(line for line in lines if line), markup=False, soft_wrap=True)
