"""`polaris watchdog`: a second process that cancels a dead desk's open orders."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polaris_synapse.cli.alerts import configured_alerts
from polaris_synapse.cli.output import BAD, GOOD, JsonOption, clock_text, console

if TYPE_CHECKING:
    from polaris_synapse.desk.watchdog import Finding
    from polaris_synapse.monitoring.alerts.service import AlertService

_WORDS = {"gone": "has stopped: it died", "hangs": "has stopped: its process hangs"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel="Stop",
        epilog="Examples:  polaris watchdog  |  polaris watchdog --once --dry-run  |  polaris watchdog --json",
    )(watchdog)


def watchdog(
    silence_seconds: Annotated[float, typer.Option(min=2, help="Act when the heartbeat is that old.")] = 10.0,
    every_seconds: Annotated[float, typer.Option(min=0.1, help="How often to look.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once; exit code 1 unless all is well.")] = False,
    config: Annotated[
        str, typer.Option(help="The desk's settings, whose alert channels are told.", envvar="POLARIS_CONFIG")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be cancelled and cancel nothing.")] = False,
    data_directory: Annotated[Path | None, typer.Option(help="The desk's data directory.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Watch the desk on this machine, and cancel its open orders at the venues when it has died.

    Run it beside the desk, under a supervisor of its own. It acts when the heartbeat is silent and the process is
    certainly gone; of a process that hangs it raises the alarm only. It tells the alert channels of the settings.
    """
    import anyio

    from polaris_synapse.bus.clock import SystemClock
    from polaris_synapse.desk.place import default_data_directory
    from polaris_synapse.desk.watchdog import Watchdog

    named = os.environ.get("POLARIS_DATA_DIRECTORY")
    directory = data_directory or (Path(named) if named else default_data_directory())
    watch = Watchdog(directory, SystemClock(), silence_seconds=silence_seconds, dry_run=dry_run)
    alerts = configured_alerts(config)
    if once:
        finding = anyio.run(watch.look)
        _say(finding, json_output)
        anyio.run(_tell, alerts, finding)
        raise typer.Exit(0 if finding.is_fine else 1)

    async def keep_looking() -> None:
        last = ""
        while True:
            finding = await watch.look()
            told = f"{finding.verdict}/{finding.healthy}/{len(finding.orders)}"
            # Each change once: an alarm every second is one that people switch off.
            if told != last or finding.orders:
                _say(finding, json_output)
                await _tell(alerts, finding)
            last = told
            await anyio.sleep(every_seconds)

    anyio.run(keep_looking)


async def _tell(alerts: AlertService, finding: Finding) -> None:
    """Tell people where something is wrong; what did not get out is said here, and the watch goes on."""
    from polaris_synapse.monitoring.alerts.alert import Alert, Severity

    if finding.is_fine:
        return
    alert = Alert(
        key=f"watchdog {finding.verdict}",
        severity=Severity.CRITICAL,
        title=f"The desk {_WORDS.get(finding.verdict.value, 'is not well')}",
        body=finding.sentence,
        time_ns=finding.time_ns,
    )
    for problem in await alerts.tell_now(alert):
        sys.stderr.write(f"The alert did not get out. {problem}\n")


def _say(finding: Finding, json_output: bool) -> None:
    if json_output:
        import msgspec

        sys.stdout.buffer.write(msgspec.json.encode(finding) + b"\n")
        sys.stdout.buffer.flush()
        return
    colour = GOOD if finding.is_fine else BAD
    console().print(f"{clock_text(finding.time_ns)} [{colour}]{finding.verdict}[/]: {finding.sentence}")
    for order in finding.orders:
        console().print(f"  {order.venue} {order.symbol} order {order.order_id}: {order.outcome}")
