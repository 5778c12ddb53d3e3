"""Commands about what an account pays. Volumes are exact decimal text of the valuation asset, rates are in ppm."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, connect
from polaris_synapse.cli.orders import DEFAULT_ACCOUNT
from polaris_synapse.cli.output import QUIET, JsonOption, console, print_json, print_table
from polaris_synapse.domain.money import MoneyError, format_units, parse_units

EVERYBODY = "*"

fees_app = typer.Typer(
    help="What an account pays, and its fee tiers.",
    invoke_without_command=True,
    epilog="Examples:  polaris fees  |  polaris fees --account main  |  polaris fees set 0:1000:1000 100000:800:900",
)

PayingAccount = Annotated[str, typer.Option("--account", "-a", help="The account, or * for everybody's default.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(fees_app, name="fees", rich_help_panel="Look")


@fees_app.callback()
def show(context: typer.Context, account: PayingAccount = DEFAULT_ACCOUNT, json_output: JsonOption = False) -> None:
    """Say what an account pays, and how much it has traded in 30 days."""
    if context.invoked_subcommand is None:
        _print(connect().get("risk", f"/fees/{account}"), json_output)


@fees_app.command(
    name="set",
    epilog="Examples:  polaris fees set 0:1000:1000 100000:800:900  |  "
    "polaris fees set 0:-50:400 --account jarvis  |  polaris fees set --none --account jarvis",
)
def set_tiers(
    tiers: Annotated[
        list[str] | None,
        typer.Argument(
            help="VOLUME:MAKER:TAKER, from the lowest volume up, the first from 0. The volume of 30 days is in the "
            "valuation asset, the rates are in parts per million; a negative maker rate is a rebate.",
            show_default=False,
        ),
    ] = None,
    none: Annotated[
        bool,
        typer.Option(
            "--none", help="No tiers: an account pays by the default's, everybody by the instruments' own rates."
        ),
    ] = False,
    account: PayingAccount = EVERYBODY,
    json_output: JsonOption = False,
) -> None:
    """Set all fee tiers of everybody's default (`*`) or of one account. It takes a risk officer or an administrator.

    They hold from the next fill on. Which of them an account is in follows from the 30 whole days before today.
    Tiers of the settings file are put into force again when they are changed there.
    """
    if bool(tiers) == none:
        raise CommandError("Give the tiers as VOLUME:MAKER:TAKER, or --none to have none.", exit_code=2)
    desk = connect()
    decimals = desk.get("risk", f"/fees/{account}")["valuation_decimals"]
    body = {"tiers": [_tier(text, decimals) for text in tiers or ()]}
    _print(desk.put("risk", f"/fees/{account}", body), json_output)


def _tier(text: str, decimals: int | None) -> dict[str, int]:
    """One tier as the risk service takes it."""
    parts = text.split(":")
    if len(parts) != 3:
        raise CommandError(f"{text} is not VOLUME:MAKER:TAKER, such as 100000:800:900.", exit_code=2)
    if decimals is None:
        raise CommandError("No instrument is listed in the valuation asset yet, so no volume can be set.")
    volume, maker, taker = parts
    try:
        return {"volume_units_min": parse_units(volume, decimals), "maker_ppm": int(maker), "taker_ppm": int(taker)}
    except MoneyError as error:
        raise CommandError(f"The volume of {text} cannot be read: {error}.", exit_code=2) from None
    except ValueError:
        raise CommandError(
            f"The rates of {text} must be whole parts per million; 1000 is 0.1 %.", exit_code=2
        ) from None


def _print(answer: Any, json_output: bool) -> None:
    if json_output:
        print_json(answer)
        return
    decimals, asset = answer["valuation_decimals"] or 0, answer["valuation_asset"]

    def amount(units: int) -> str:
        return f"{format_units(units, decimals)} {asset}"

    if answer["account"] != EVERYBODY:
        console().print(f"Account {answer['account']} traded {amount(answer['volume_units'])} in "
                        f"{answer['volume_days']} days.")  # fmt: skip
        console().print(f"Today so far, which counts from tomorrow on: {amount(answer['today_units'])}.", style=QUIET)
    if not answer["tiers"]:
        console().print("No fee tiers are set: each instrument's own rates are in force (polaris instruments).")
        return
    rows = [
        [
            "in force" if number == answer["tier"] else "",
            amount(tier["volume_units_min"]),
            f"{tier['maker_ppm']} ppm",
            f"{tier['taker_ppm']} ppm",
        ]
        for number, tier in enumerate(answer["tiers"], start=1)
    ]
    print_table("Fee tiers", ["", "from a volume of", "maker", "taker"], rows, empty="", right=("maker", "taker"))
