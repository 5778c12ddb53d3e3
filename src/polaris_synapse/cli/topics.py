"""The topics on the brokers: make them, show them, compare them with what is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from polaris_synapse.cli.connection import CommandError
from polaris_synapse.cli.output import BAD, GOOD, QUIET, JsonOption, console, print_json

if TYPE_CHECKING:
    from polaris_synapse.bus.kafka.topics import Topics, TopicSpec

_topics = typer.Typer(help="The topics of a desk that runs as services.", no_args_is_help=True)
ConfigOption = Annotated[str, typer.Option(help="development, production, or a YAML file.", envvar="POLARIS_CONFIG")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    _topics.command(epilog="Example:  polaris topics apply")(apply)
    _topics.command(epilog="Example:  polaris topics show --json")(show)
    _topics.command(epilog="Example:  polaris topics diff")(diff)
    app.add_typer(_topics, name="topics", rich_help_panel="Cluster")


def apply(config: ConfigOption = "", json_output: JsonOption = False) -> None:
    """Make the topics that are missing and change the settings of those that differ. Partitions never change."""
    from polaris_synapse.bus.kafka.topics import TopicsError

    topics, _ = _declared(config)
    try:
        changes = topics.apply()
    except TopicsError as error:
        raise CommandError(f"The topics were not changed: {error}.", exit_code=2) from None
    if json_output:
        print_json(changes)
        return
    for change in changes:
        console().print(f"  {change.topic:<28}{change.action:<12}{change.detail}")
    done = f"{len(changes)} changed" if changes else "nothing had to change"
    console().print(f"[bold {GOOD}]The topics are as declared[/]: {done}.")


def show(config: ConfigOption = "", json_output: JsonOption = False) -> None:
    """List the declared topics, and which of them the brokers have."""
    from polaris_synapse.bus.kafka.topics import TopicsError

    topics, specs = _declared(config)
    try:
        existing = topics.show()
    except TopicsError as error:
        raise CommandError(f"The topics cannot be shown: {error}.", exit_code=2) from None
    if json_output:
        print_json([{"topic": spec, "exists": spec.name in existing} for spec in specs])
        return
    for spec in specs:
        kept = "compacted" if spec.compacted else "for ever" if spec.retention_ms < 0 else _hours(spec.retention_ms)
        mark = f"[{GOOD}]there[/]" if spec.name in existing else f"[{BAD}]missing[/]"
        console().print(f"  {spec.name:<28}{spec.partitions:>3} partitions  kept {kept:<12}{mark}")


def diff(config: ConfigOption = "", json_output: JsonOption = False) -> None:
    """Say what would have to change; the exit code is 1 where anything would."""
    from polaris_synapse.bus.kafka.topics import TopicsError

    topics, _ = _declared(config)
    try:
        changes = topics.diff()
    except TopicsError as error:
        raise CommandError(f"The topics cannot be compared: {error}.", exit_code=2) from None
    if json_output:
        print_json(changes)
    elif not changes:
        console().print("The topics are as declared.", style=QUIET)
    else:
        for change in changes:
            console().print(f"  {change.topic:<28}{change.action:<12}{change.detail}")
    if changes:
        raise typer.Exit(1)


def _declared(config: str) -> tuple[Topics, tuple[TopicSpec, ...]]:
    """The declared topics of the settings, with the brokers behind them."""
    from polaris_synapse.bus.kafka.topics import Topics
    from polaris_synapse.desk.bus_settings import declared_topics, kafka_settings
    from polaris_synapse.desk.loading import ConfigurationError, load_settings

    try:
        section = load_settings(config or None).bus.kafka
    except ConfigurationError as error:
        raise CommandError(str(error), exit_code=2) from None
    specs = declared_topics(section)
    return Topics(kafka_settings(section), specs), specs


def _hours(retention_ms: int) -> str:
    return f"{retention_ms // 3_600_000} h"
