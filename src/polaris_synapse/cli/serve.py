"""Run one of the desk's services on Kafka."""

from __future__ import annotations

import errno
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError
from polaris_synapse.cli.output import GOOD, QUIET, console

if TYPE_CHECKING:
    from polaris_synapse.desk.place import ServicePlace

_PORTS = {
    "order-gateway": "gateway",
    "compliance-gateway": "compliance",
    "llm-agents": "llm_agents",
    "market-data-handler": "market_data",
    "risk-manager": "risk",
    "order-matching-engine": "matching",
    "execution-engine": "execution",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel="Cluster",
        epilog="Examples:  polaris serve risk-manager  |  polaris serve order-gateway --port 9082",
    )(serve)


def serve(
    service: Annotated[str, typer.Argument(help=f"One of: {', '.join(_PORTS)}.", show_default=False)],
    config: Annotated[str, typer.Option(help="development, production, or a YAML file.", envvar="POLARIS_CONFIG")] = "",
    data_directory: Annotated[Path | None, typer.Option(help="Where keys and files live.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "",
    port: Annotated[int | None, typer.Option(help="The port; 0 takes a free one.", min=0, max=65_535)] = None,
    feed: Annotated[str, typer.Option(help="auto, binance, replay or simulated (market-data-handler).")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors; the log is in its file.")] = False,
) -> None:
    """Run one service of a desk that runs as several, on the brokers of bus.kafka.bootstrap, until Ctrl-C.

    Start as many instances of each as you like: they share its partitions, and stand in for each other. The log goes to
    standard output, as JSON lines, and to a file.
    """
    if service not in _PORTS:
        raise CommandError(f"There is no service {service}; there are {', '.join(_PORTS)}.", exit_code=2)
    began = time.monotonic()
    from polaris_synapse.desk.loading import ConfigurationError, load_settings
    from polaris_synapse.desk.services.run import run_service

    options: dict[str, Any] = {"data_directory": data_directory, "host": host or None}
    if port is not None:
        options["ports"] = {_PORTS[service]: port}
    if feed:
        options["feed"] = {"mode": feed}

    def ready(place: ServicePlace) -> None:
        if not quiet:
            seconds = time.monotonic() - began
            # Standard output has the log.
            terminal = console(stderr=True)
            terminal.print(f"[bold {GOOD}]{service} listens[/] at http://{place.host}:{place.port} ({seconds:.1f} s).")
            terminal.print(f"Is it ready? http://{place.host}:{place.port}/ready  Ctrl-C stops it.", style=QUIET)

    try:
        run_service(service, load_settings(config or None, **options), ready=ready, log_to_stdout=not quiet)
    except ConfigurationError as error:
        raise CommandError(str(error), exit_code=2) from None
    except OSError as error:
        hint = "Take another port with: --port 0" if error.errno == errno.EADDRINUSE else ""
        raise CommandError(f"{service} cannot run: {error.strerror or error}.", exit_code=2, hint=hint) from None
