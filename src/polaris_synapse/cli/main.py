"""The `polaris` command. Each group of commands is a module; heavy imports happen inside the commands."""

from __future__ import annotations

import sys

import typer

from polaris_synapse.cli import (
    account,
    alerts,
    approvals,
    audit,
    benchmarks,
    chat,
    database,
    decisions,
    desk,
    evaluate,
    fees,
    journal,
    limits,
    mandates,
    market,
    mcp,
    order_lists,
    orders,
    receipts,
    serve,
    simulate,
    sources,
    standing,
    stops,
    topics,
    users,
    venues,
    watchdog,
)
from polaris_synapse.cli.connection import CommandError

app = typer.Typer(
    name="polaris",
    help="Polaris Synapse: a crypto trading desk in one command. Start with: polaris up",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    desk,
    venues,
    orders,
    order_lists,
    account,
    fees,
    market,
    chat,
    decisions,
    mandates,
    approvals,
    standing,
    receipts,
    mcp,
    stops,
    limits,
    alerts,
    watchdog,
    audit,
    journal,
    database,
    users,
    benchmarks,
    evaluate,
    simulate,
    serve,
    topics,
    sources,
):
    module.register(app)


def main() -> None:
    """Run the command; a refusal is one sentence on standard error, never a traceback."""
    try:
        app()
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        if error.hint:
            sys.stderr.write(f"{error.hint}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
