"""`polaris bench`: measurements of this machine. Every one takes --json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from polaris_synapse.cli.output import JsonOption, console, print_json, print_table

if TYPE_CHECKING:
    from polaris_synapse.monitoring.figures import Figure

DirectoryOption = Annotated[
    Path | None,
    typer.Option(help="On the disk that a desk would use; here when absent.", exists=True, file_okay=False),
]

bench_app = typer.Typer(help="Measure the desk on this machine.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(bench_app, name="bench", rich_help_panel="Prove")


@bench_app.command(epilog="Example:  polaris bench replay btcusdt.gz ethusdt.gz --runs 3")
def replay(
    recordings: Annotated[list[Path], typer.Argument(help="Recorded files.", exists=True, dir_okay=False)],
    runs: Annotated[int, typer.Option(min=2, max=20, help="How often; the state must be the same each time.")] = 3,
    json_output: JsonOption = False,
) -> None:
    """Replay recorded market data at full speed: events a second, memory, and how it compares with the venue."""
    from polaris_synapse.market_data.replay_benchmark import run

    with progress_bar() as progress:
        progress(f"replaying {len(recordings)} recordings {runs} times", 0.0)
        report = run(recordings, runs=runs)
    _show("Replay", report, report.figures, json_output)
    if not json_output:
        verdict = "the same after every run" if report.repeatable else "DIFFERENT between runs"
        console().print(f"State hash {report.state_hash}: {verdict}.")


@bench_app.command(epilog="Example:  polaris bench orders --seconds 10 --rate 1000 --rate 5000")
def orders(
    directory: DirectoryOption = None,
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="Time for each figure.")] = 5.0,
    connections: Annotated[int, typer.Option(min=1, max=20, help="Connections, one account each.")] = 10,
    rest_connections: Annotated[
        int, typer.Option(min=1, max=1000, help="Connections of a second run over REST, which share the accounts.")
    ] = 100,
    in_flight: Annotated[int, typer.Option(min=1, max=256, help="Orders on their way on each connection.")] = 16,
    rate: Annotated[list[int] | None, typer.Option(min=1, help="Open-loop orders a second; repeatable.")] = None,
    batch_orders: Annotated[int, typer.Option(min=1, max=100, help="Orders in one REST batch.")] = 50,
    slow: Annotated[bool, typer.Option("--slow", help="Say where slow orders of the open loops were kept.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Start a desk, load it over REST, WebSocket and order port: orders a second, and how long an answer takes."""
    from polaris_synapse.testing.order_benchmark import OPEN_LOOP_RATES, OrderPlan, run_order_benchmark, sentences

    plan = OrderPlan(
        directory=directory or Path.cwd(),
        seconds=seconds,
        connections=connections,
        rest_connections=rest_connections,
        in_flight=in_flight,
        rates=tuple(rate or OPEN_LOOP_RATES),
        batch_orders=batch_orders,
        slow=slow,
    )
    with progress_bar() as progress:
        report = run_order_benchmark(plan, progress)
    _show("Order path", report, report.figures, json_output)
    if not json_output:
        for sentence in sentences(report):
            console().print(sentence)


@bench_app.command(epilog="Example:  polaris bench core --orders 50000 --profile core.txt")
def core(
    directory: DirectoryOption = None,
    count: Annotated[
        int, typer.Option("--orders", min=1_000, max=5_000_000, help="Orders for each size of group.")
    ] = 20_000,
    profile: Annotated[Path | None, typer.Option(help="Write cProfile's top entries to this file.")] = None,
    json_output: JsonOption = False,
) -> None:
    """The whole order path in this process, journal included: orders a second on one core."""
    from polaris_synapse.testing.core_benchmark import CorePlan, run_core_benchmark

    with progress_bar() as progress:
        report = run_core_benchmark(
            CorePlan(directory=directory or Path.cwd(), orders=count, profile=profile), progress
        )
    _show("Order path in one process", report, report.figures, json_output)
    if not json_output:
        console().print(report.forms_in_use)


@bench_app.command(epilog="Example:  polaris bench matching --runs 5")
def matching(
    commands: Annotated[int, typer.Option(min=1_000, max=10_000_000, help="Commands of each stream.")] = 1_000_000,
    resting: Annotated[
        int, typer.Option("--orders", min=1_000, max=1_000_000, help="Resting orders of the deep book.")
    ] = 1_000_000,
    runs: Annotated[int, typer.Option(min=1, max=50, help="Runs, of which the median counts.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the streams.")] = 1,
    json_output: JsonOption = False,
) -> None:
    """The order books alone, compiled and plain: commands a second, latency, memory of a resting order."""
    from polaris_synapse.testing.matching_benchmark import MatchingPlan, run_matching_benchmark

    with progress_bar() as progress:
        report = run_matching_benchmark(MatchingPlan(commands=commands, orders=resting, runs=runs, seed=seed), progress)
    _show("Order books", report, report.figures, json_output)
    if not json_output:
        console().print(report.book_in_use)


@bench_app.command(epilog="Example:  polaris bench decisions --symbols 50")
def decisions(
    symbols: Annotated[int, typer.Option(min=1, max=100, help="Markets that are decided on.")] = 50,
    rounds: Annotated[int, typer.Option(min=2, max=10_000, help="How often each of them.")] = 60,
    json_output: JsonOption = False,
) -> None:
    """The agents' decisions without a language model: latency, and how much of a core they take."""
    from polaris_synapse.testing.decision_benchmark import DecisionPlan, run_decision_benchmark

    with progress_bar() as progress:
        report = run_decision_benchmark(DecisionPlan(symbols=symbols, rounds=rounds), progress)
    _show("Decisions", report, report.figures, json_output)
    if not json_output:
        console().print(f"{report.decisions} decisions, {report.proposals} of them with an order.")


@bench_app.command(epilog="Example:  polaris bench injections --json")
def injections(
    directory: Annotated[
        Path | None, typer.Option(help="Where to work; kept. Without it, a folder that is removed.", file_okay=False)
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Attack a desk through its news, chains and chat, with a model that obeys the attackers: what came of it."""
    import shutil
    import tempfile

    from polaris_synapse.testing.injections.suite import run_suite

    place = directory or Path(tempfile.mkdtemp(prefix="polaris-injections-"))
    try:
        with progress_bar() as progress:
            report = run_suite(place, progress)
    finally:
        if directory is None:
            shutil.rmtree(place, ignore_errors=True)
    _show("Injections", report, report.figures, json_output)
    if not json_output:
        for violation in report.violations:
            console().print(f"Violated: {violation}", markup=False)
    if not report.holds:
        raise typer.Exit(1)


def _show(title: str, report: object, figures: Sequence[Figure], json_output: bool) -> None:
    """The whole report as JSON, or its figures as a table."""
    from polaris_synapse.monitoring.figures import figure_text

    if json_output:
        print_json(report)
        return
    print_table(
        title,
        ["figure", "value", "unit"],
        ([figure.name, figure_text(figure.value), figure.unit] for figure in figures),
        empty="Nothing was measured.",
        right=("value",),
    )


@contextmanager
def progress_bar() -> Iterator[Callable[[str, float], None]]:
    """A bar on the terminal's error output that is told what is done now and how much of it all is (0 to 1)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda text, share: progress.update(task, description=text, completed=share)
