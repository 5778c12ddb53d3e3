"""Commands about the alerts: who is told, and whether it works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from polaris_synapse.cli.connection import CommandError
from polaris_synapse.cli.output import JsonOption, console, print_json, print_table

if TYPE_CHECKING:
    from polaris_synapse.monitoring.alerts.service import AlertService
    from polaris_synapse.monitoring.alerts.settings import AlertSettings

alerts_app = typer.Typer(help="Whom the desk tells when something happens.", no_args_is_help=True)

Config = Annotated[str, typer.Option(help="development, production, or a YAML file.", envvar="POLARIS_CONFIG")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(alerts_app, name="alerts", rich_help_panel="Operate")


@alerts_app.command(epilog="Examples:  polaris alerts show  |  polaris alerts show --config production --json")
def show(config: Config = "", json_output: JsonOption = False) -> None:
    """Show the channels that the settings name, without their secrets."""
    settings = _settings(config)
    rows = [
        {"name": entry.name, "kind": entry.kind.value, "from": entry.severity_min.name} for entry in settings.channels
    ]
    if json_output:
        print_json(rows)
        return
    print_table(
        "Alert channels",
        ["name", "kind", "from"],
        ([row["name"], row["kind"], row["from"]] for row in rows),
        empty="Nobody is told: the settings name no channel, and SLACK_WEBHOOK_URL is not set.",
    )


@alerts_app.command(name="test", epilog="Example:  polaris alerts test")
def try_out(config: Config = "") -> None:
    """Send a test alert through every channel, also during quiet hours."""
    import anyio

    from polaris_synapse.bus.clock import SystemClock
    from polaris_synapse.monitoring.alerts.alert import Alert, Severity

    # Whoever waits at a terminal wants to hear of the first failure.
    alerts = configured_alerts(config, attempts_max=1)
    if not alerts.is_wanted:
        raise CommandError(
            "Nobody is told: the settings name no alert channel, and SLACK_WEBHOOK_URL is not set.",
            hint="Set SLACK_WEBHOOK_URL in .env, or alerts.channels in the settings file.",
        )
    alert = Alert(
        key="test",
        severity=Severity.CRITICAL,
        title="A test: nothing happened",
        body="Somebody ran `polaris alerts test`.",
        time_ns=SystemClock().now_ns(),
    )
    problems = anyio.run(alerts.tell_now, alert)
    if problems:
        raise CommandError(" ".join(problems))
    console().print("Every channel took the test alert.")


def configured_alerts(config: str, *, attempts_max: int = 3) -> AlertService:
    """The alerts of the settings, for a process that is no desk. Raises CommandError."""
    import msgspec
    from prometheus_client import CollectorRegistry

    from polaris_synapse.bus.clock import SystemClock
    from polaris_synapse.monitoring.alerts.service import AlertService

    settings = msgspec.structs.replace(_settings(config), attempts_max=attempts_max)
    return AlertService(SystemClock(), CollectorRegistry(), settings)


def _settings(config: str) -> AlertSettings:
    from polaris_synapse.desk.alert_settings import alert_settings
    from polaris_synapse.desk.loading import ConfigurationError, load_settings

    try:
        return alert_settings(load_settings(config or None))
    except ConfigurationError as error:
        raise CommandError(str(error), exit_code=2) from None
