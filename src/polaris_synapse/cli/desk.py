"""Commands about the desk itself: up, status, doctor."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, DeskClient, connect
from polaris_synapse.cli.output import BAD, GOOD, QUIET, SIMULATED, JsonOption, console, grouped, print_json, rows_of

if TYPE_CHECKING:
    from polaris_synapse.desk.desk import ReadyDesk

_SERVICES = ("gateway", "risk", "compliance", "market_data", "matching", "execution", "llm_agents")
_NAMES = {
    "gateway": "order-gateway",
    "risk": "risk-manager",
    "compliance": "compliance-gateway",
    "market_data": "market-data-handler",
    "matching": "order-matching-engine",
    "execution": "execution-engine",
    "llm_agents": "llm-agents",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        rich_help_panel="Desk",
        epilog="Examples:  polaris up  |  polaris up --feed simulated  |  polaris up --feed replay --recording btc.gz",
    )(up)
    app.command(rich_help_panel="Desk", epilog="Example:  polaris status --json")(status)
    app.command(rich_help_panel="Desk", epilog="Example:  polaris doctor")(doctor)


def up(
    config: Annotated[str, typer.Option(help="development, production, or a YAML file.", envvar="POLARIS_CONFIG")] = "",
    feed: Annotated[str, typer.Option(help="auto, binance, replay or simulated.")] = "",
    recording: Annotated[list[Path] | None, typer.Option(help="A recorded file to replay; may be repeated.")] = None,
    speed: Annotated[float | None, typer.Option(help="Replay speed: 1 as recorded, 0 as fast as possible.")] = None,
    data_directory: Annotated[Path | None, typer.Option(help="Where journal and keys live.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "",
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Take any free ports instead of the usual ones.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Start the desk and keep it running until Ctrl-C."""
    import time

    began = time.monotonic()
    out = console()
    if not quiet:
        out.print("Polaris Synapse is starting …", style=QUIET)
    from polaris_synapse.desk.desk import run_desk
    from polaris_synapse.desk.loading import ConfigurationError, load_settings

    options: dict[str, Any] = {"data_directory": data_directory, "host": host or None}
    chosen = {"mode": feed or ("replay" if recording else None), "recordings": recording or None, "speed": speed}
    given = {name: value for name, value in chosen.items() if value is not None}
    if given:
        options["feed"] = given
    if free_ports:
        options["ports"] = dict.fromkeys(_SERVICES, 0)
        options["order_port"] = {"port": 0}

    def ready(desk: ReadyDesk) -> None:
        if not quiet:
            _print_ready(desk, time.monotonic() - began)

    try:
        run_desk(load_settings(config or None, **options), ready=ready)
    except ConfigurationError as error:
        raise CommandError(str(error), exit_code=2) from None
    except OSError as error:
        hint = "Take other ports with: polaris up --free-ports" if error.errno == errno.EADDRINUSE else ""
        raise CommandError(f"The desk cannot start: {error.strerror or error}.", exit_code=2, hint=hint) from None
    if not quiet:
        out.print("The desk has stopped.")


def _print_ready(desk: ReadyDesk, seconds: float) -> None:
    out = console()
    if desk.problem:
        out.print(f"[bold {BAD}]The desk is up, but cannot take orders yet[/] after {seconds:.1f} s: {desk.problem}")
    else:
        out.print(f"[bold {GOOD}]The desk is ready[/] after {seconds:.1f} s.")
    out.print(f"  Market data   {desk.feed_sentence}")
    out.print("  Trading       on paper: every fill is simulated and says how it was made")
    out.print(f"  Journal       {desk.directory} ({desk.recovery_sentence})")
    out.print(f"  Gateway       {desk.place.url('gateway')}/docs")
    out.print(f"  Risk          {desk.place.url('risk')}   Agents {desk.place.url('llm_agents')}")
    out.print("Try in another terminal:", style="bold")
    for command, meaning in (
        ("polaris status", "is everything well?"),
        ("polaris book BTCUSDT", "the order book, drawn"),
        ("polaris order buy 0.01 BTCUSDT", "a market order, on paper"),
        ("polaris why latest", "the analyst's view and its facts"),
        ("polaris halt", "stop all trading at once"),
    ):
        out.print(f"  {desk.command_prefix}{command:<34}[{QUIET}]{meaning}[/]")
    out.print("Ctrl-C stops the desk; nothing is lost.", style=QUIET)


def status(json_output: JsonOption = False) -> None:
    """Say whether every service is well, and where the desk stands. Exit code 1: something is not ready; 3: no desk."""
    desk = connect()
    services = [_service_state(desk, service) for service in _SERVICES]
    silent = all("connection" in service["failing"] for service in services)
    if silent and not json_output:
        raise CommandError(
            f"No desk answers at {desk.place.url('gateway')}.", exit_code=3, hint="Start one with: polaris up"
        )
    try:
        summary = desk.get("gateway", "/status")
    except CommandError as error:
        summary = {"problem": str(error)}
    try:
        feed = desk.get("market_data", "/feed")
    except CommandError as error:
        feed = {"problem": str(error)}
    if json_output:
        print_json({"services": services, "desk": summary, "feed": feed, "place": desk.place})
    else:
        _print_status(desk, services, summary)
    if silent or not all(service["ready"] for service in services):
        # Scripts wait for a desk by this.
        raise typer.Exit(3 if silent else 1)


def _print_status(desk: DeskClient, services: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    out = console()
    for service in services:
        mark = f"[{GOOD}]ready[/]" if service["ready"] else f"[{BAD}]not ready[/]"
        why = "; ".join(f"{name}: {text}" for name, text in service["failing"].items())
        out.print(f"  {_NAMES[service['service']]:<24}{mark:<24} {desk.place.url(service['service'])}  {why}")
    if desk.place.feed:
        out.print(f"  {desk.place.feed}", style=SIMULATED if "simulated" in desk.place.feed.lower() else "")
    _print_summary(summary)


def _print_summary(summary: dict[str, Any]) -> None:
    out = console()
    for row in rows_of(summary, "markets"):
        state = "" if row["healthy"] else f"  [{BAD}]not usable[/]"
        out.print(f"  {row['symbol']:<24}{grouped(row['mark_price']):>14}{state}")
    for scope, reason in summary.get("tripped_breakers", {}).items():
        option = "" if scope == "*" else f" --scope {scope}"
        out.print(f"  The circuit breaker {scope} has tripped ({reason}); close it with:", style=BAD)
        out.print(f"    polaris breaker reset{option}")
    for account, level in summary.get("kill_levels", {}).items():
        who = "every account" if account == "*" else f"account {account}"
        option = "" if account == "*" else f" --account {account}"
        out.print(f"  Trading is stopped for {who} ({level}); go on with: polaris resume{option}", style=BAD)
    if "problem" in summary:
        out.print(f"  {summary['problem']}", style=BAD)


def _service_state(desk: DeskClient, service: str) -> dict[str, Any]:
    import httpx2
    import msgspec

    state: dict[str, Any] = {"service": service, "ready": False, "failing": {}}
    try:
        response = httpx2.get(f"{desk.place.url(service)}/ready", timeout=5)
        body = msgspec.json.decode(response.content)
        state["ready"], state["failing"] = bool(body.get("ready")), dict(body.get("failing", {}))
    except httpx2.TransportError:
        state["failing"] = {"connection": f"nothing answers at {desk.place.url(service)}"}
    except (msgspec.DecodeError, AttributeError):
        state["failing"] = {"answer": "something else listens on this port"}
    return state


def doctor(
    config: Annotated[str, typer.Option(help="development, production, or a YAML file.")] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Do not try to reach the market data venue.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Check this machine, the settings, the data directory and the desk, and say how to mend what is wrong."""
    from polaris_synapse.desk.diagnosis import diagnose

    findings = diagnose(config or None, offline=offline)
    if json_output:
        print_json(findings)
    else:
        for finding in findings:
            mark = {"good": f"[{GOOD}]✓[/]", "note": f"[{SIMULATED}]![/]", "bad": f"[{BAD}]✗[/]"}[finding.verdict]
            console().print(f"{mark} {finding.subject}: {finding.sentence}")
    if any(finding.verdict == "bad" for finding in findings):
        raise typer.Exit(1)
