"""Commands about the SQL databases. They work whether the desk runs or not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polaris_synapse.cli.connection import CommandError
from polaris_synapse.cli.output import BAD, JsonOption, console, print_json, print_table

if TYPE_CHECKING:
    from polaris_synapse.desk.settings import DeskSettings

database_app = typer.Typer(help="The SQL databases of orders and compliance.", no_args_is_help=True)

Config = Annotated[
    str, typer.Option("--config", help="development, production, or a YAML file.", envvar="POLARIS_CONFIG")
]
Directory = Annotated[Path | None, typer.Option("--data-directory", help="The desk's data directory.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(database_app, name="database", rich_help_panel="Operate")


@database_app.command(epilog="Examples:  polaris database migrate  |  polaris database migrate --config production")
def migrate(config: Config = "", data_directory: Directory = None) -> None:
    """Make the tables, or bring them up to this version. Doing it again changes nothing."""
    import anyio

    from polaris_synapse.desk.databases import migrate as migrate_databases
    from polaris_synapse.desk.loading import ConfigurationError

    try:
        settings = _settings(config, data_directory)
        anyio.run(lambda: migrate_databases(settings, say=console().print))
    except ConfigurationError as error:
        raise CommandError(str(error), exit_code=2) from None


@database_app.command(epilog="Example:  polaris database show --json")
def show(config: Config = "", data_directory: Directory = None, json_output: JsonOption = False) -> None:
    """Show where the databases are and whether their tables are of this version. Exit code 1 where they are not."""
    import anyio

    from polaris_synapse.desk.databases import report
    from polaris_synapse.desk.loading import ConfigurationError

    try:
        found = anyio.run(report, _settings(config, data_directory))
    except ConfigurationError as error:
        raise CommandError(str(error), exit_code=2) from None
    if json_output:
        print_json({"databases": found})
    else:
        print_table(
            "Databases",
            ["database", "place", "version", "needed"],
            ([row.name, row.place, row.version or "none", row.needed] for row in found),
            empty="There is no database.",
        )
    if not all(row.is_current for row in found):
        if not json_output:
            console().print("Bring them up to date with: polaris database migrate", style=BAD)
        raise typer.Exit(1)


def _settings(config: str, data_directory: Path | None) -> DeskSettings:
    from polaris_synapse.desk.loading import load_settings

    return load_settings(config or None, data_directory=data_directory)
