"""Commands about how much an account may risk. Amounts are exact decimal text of the valuation asset."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, connect
from polaris_synapse.cli.orders import DEFAULT_ACCOUNT
from polaris_synapse.cli.output import JsonOption, console, grouped, print_json, print_table
from polaris_synapse.domain.money import MoneyError, format_units, parse_units

_MONEY = "_units_max"

limits_app = typer.Typer(help="How much an account may risk.", no_args_is_help=True)

LimitedAccount = Annotated[str, typer.Option("--account", "-a", help="The account, or * for everybody's default.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(limits_app, name="limits", rich_help_panel="Operate")


@limits_app.command(epilog="Examples:  polaris limits show  |  polaris limits show --account '*' --json")
def show(account: LimitedAccount = DEFAULT_ACCOUNT, json_output: JsonOption = False) -> None:
    """Show the limits in force."""
    _print(_limits_of(account), json_output)


@limits_app.command(
    name="set",
    epilog="Examples:  polaris limits set order_value_max=2500 daily_loss_max=500  |  "
    "polaris limits set open_orders_max=20 --account jarvis",
)
def set_limits(
    changes: Annotated[list[str], typer.Argument(help="NAME=VALUE, with the names that `show` shows; 0 is no limit.")],
    account: LimitedAccount = DEFAULT_ACCOUNT,
    json_output: JsonOption = False,
) -> None:
    """Change some limits; the others stay. It takes a risk officer, or the operator of this machine.

    What the settings file says of everybody's default (`*`) is put into force again at each start.
    """
    known = _limits_of(account)
    body = dict(_change(text, known) for text in changes)
    _print(connect().patch("risk", f"/limits/{account}", body), json_output)


def _limits_of(account: str) -> Any:
    return connect().get("risk", f"/limits/{account}")


def _change(text: str, known: Any) -> tuple[str, int]:
    """One change as the risk service takes it."""
    name, equals, value = text.partition("=")
    fields = {_name(field): field for field in known["limits"]}
    if not equals or name not in fields:
        raise CommandError(f"{text} is not NAME=VALUE with one of: {', '.join(fields)}.", exit_code=2)
    decimals = known["valuation_decimals"] if fields[name].endswith(_MONEY) else 0
    if decimals is None:
        raise CommandError(f"No instrument is listed in {known['valuation_asset']} yet, so no amount can be set.")
    try:
        return fields[name], parse_units(value, decimals)
    except MoneyError as error:
        raise CommandError(f"{name} cannot be {value}: {error}.", exit_code=2) from None


def _name(field: str) -> str:
    """A field's name as the settings file has it."""
    return field.removesuffix(_MONEY) + "_max" if field.endswith(_MONEY) else field


def _print(answer: Any, json_output: bool) -> None:
    if json_output:
        print_json(answer)
        return
    asset, decimals = answer["valuation_asset"], answer["valuation_decimals"]
    rows = []
    for field, value in answer["limits"].items():
        if not value:
            shown = "no limit"
        elif field.endswith(_MONEY) and decimals is not None:
            shown = f"{grouped(format_units(value, decimals))} {asset}"
        elif "_ppm" in field:
            shown = f"{format_units(value, 4)} %"
        else:
            shown = str(value)
        rows.append([_name(field), shown])
    who = "everybody's default" if answer["account"] == "*" else answer["account"]
    print_table(f"Limits of {who}", ["limit", "value"], rows, empty="", right=("value",))
    console().print(
        "[dim]Change one with: polaris limits set NAME=VALUE; amounts in the valuation asset, rates in ppm.[/]"
    )
