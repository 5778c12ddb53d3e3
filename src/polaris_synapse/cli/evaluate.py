"""`polaris evaluate agents`: whether the agents are any good, said plainly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polaris_synapse.cli.connection import CommandError
from polaris_synapse.cli.output import BAD, GOOD, JsonOption, console, print_json, print_table

if TYPE_CHECKING:
    from polaris_synapse.testing.evaluation.agent import Advise
    from polaris_synapse.testing.evaluation.evaluate import Evaluation, Plan
    from polaris_synapse.testing.evaluation.paths import MarketPath

evaluate_app = typer.Typer(help="Whether the agents are any good, with costs and against chance.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(evaluate_app, name="evaluate", rich_help_panel="Prove")


@evaluate_app.command(
    epilog="Examples:  polaris evaluate agents --candles btcusd_1m.csv.gz --out report.html  |  "
    "polaris evaluate agents --walks 3 --json"
)
def agents(
    candles: Annotated[list[Path] | None, typer.Option(help="Candles as CSV or .csv.gz; may be repeated.")] = None,
    recording: Annotated[list[Path] | None, typer.Option(help="Recorded frames (.gz); may be repeated.")] = None,
    walks: Annotated[int, typer.Option(min=0, max=100, help="Random walks to run as a check of the check.")] = 0,
    steps: Annotated[int, typer.Option(min=100, help="Use at most so many candles of each file.")] = 1_000_000,
    decide_every: Annotated[
        int | None, typer.Option(min=5, help="Seconds between decisions; its candles last as long.")
    ] = None,
    horizon: Annotated[int | None, typer.Option(min=10, help="Seconds after which a view is scored.")] = None,
    fee_ppm: Annotated[int, typer.Option(min=0, max=100_000, help="The fee, in parts per million.")] = 1_000,
    slippage_ppm: Annotated[int, typer.Option(min=0, max=100_000, help="Slippage beyond the touch.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="Seeds of the random entries.")] = 20,
    models: Annotated[
        bool, typer.Option("--models", help="Ask the settings' language models before each order; that may cost money.")
    ] = False,
    config: Annotated[str, typer.Option(help="The settings that name the models.", envvar="POLARIS_CONFIG")] = "",
    out: Annotated[Path | None, typer.Option(help="Where the HTML report goes.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Run the real agents, risk and compliance cores over recorded markets, with fees and slippage.

    Beside them: cash, buy and hold, moving averages, MACD, momentum, and random entries with the same turnover. The
    verdict says plainly when no edge is shown. Without files it runs over random walks, where nobody has one.
    """
    from polaris_synapse.testing.evaluation.agent import EvaluationError
    from polaris_synapse.testing.evaluation.paths import PathError

    wanted = [*(candles or []), *(recording or [])]
    try:
        with _advisers(config) if models else nullcontext() as advise:
            evaluations = [
                _one(
                    path, _plan(path, decide_every, horizon, fee_ppm, slippage_ppm, seeds, models), advise, json_output
                )
                for path in _markets(candles or [], recording or [], walks or (0 if wanted else 1), steps)
            ]
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be read: {error.strerror}.", exit_code=2) from None
    except (EvaluationError, PathError) as error:
        raise CommandError(str(error), exit_code=2) from None
    if out is not None:
        from polaris_synapse.testing.evaluation.report import html_report

        out.write_text(html_report(evaluations), encoding="utf-8")
    if json_output:
        print_json({"figures": [f for e in evaluations for f in e.figures()], "evaluations": evaluations})
        return
    for evaluation in evaluations:
        _show(evaluation)
    if out is not None:
        console().print(f"The report with its plots is in {out}.")


def _markets(candles: list[Path], recordings: list[Path], walks: int, steps: int) -> list[MarketPath]:
    from polaris_synapse.testing.evaluation.paths import candles_path, recording_path, simulated_path

    return [
        *(candles_path(path, steps_max=steps) for path in candles),
        *(recording_path(path) for path in recordings),
        *(simulated_path(seed) for seed in range(walks)),
    ]


def _plan(
    path: MarketPath,
    decide_every: int | None,
    horizon: int | None,
    fee_ppm: int,
    slippage_ppm: int,
    seeds: int,
    models: bool,
) -> Plan:
    """The analyst as the desk has it, at the pace of the data: candles of at least ten steps."""
    from polaris_synapse.domain.messages import AgentSettings
    from polaris_synapse.testing.evaluation.agent import Costs
    from polaris_synapse.testing.evaluation.evaluate import Plan

    every = decide_every or max(10 * path.seconds, 5)
    agent = AgentSettings(
        agent="jarvis",
        account="evaluated",
        symbols=(),
        interval_seconds=every,
        candle_seconds=every,
        horizon_seconds=horizon or 4 * every,
        cooldown_seconds=every,
        model_roles=("fact",) if models else (),
    )
    return Plan(agent=agent, costs=Costs(fee_ppm=fee_ppm, slippage_ppm=slippage_ppm), seeds=seeds)


@contextmanager
def _advisers(config: str) -> Iterator[Advise]:
    """The models of the settings. Their calls and spending are kept in the desk's data directory, as a desk's are."""
    from polaris_synapse.desk.first_start import prepare_directory
    from polaris_synapse.desk.loading import ConfigurationError, load_settings
    from polaris_synapse.desk.place import default_data_directory
    from polaris_synapse.testing.evaluation.models import advising

    try:
        settings = load_settings(config or None)
        directory = (settings.data_directory or default_data_directory()).absolute()
        prepare_directory(directory)
        with advising(settings, directory) as advise:
            yield advise
    except ConfigurationError as error:
        raise CommandError(str(error), exit_code=2) from None


def _one(path: MarketPath, plan: Plan, advise: Advise | None, quiet: bool) -> Evaluation:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from polaris_synapse.testing.evaluation.evaluate import evaluate

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(), transient=True, disable=quiet) as bars:
        bar = bars.add_task(path.name, total=1.0)
        return evaluate(
            path,
            plan,
            advise=advise,
            progress=lambda what, share: bars.update(bar, description=f"{path.name}: {what}", completed=share),
        )


def _show(evaluation: Evaluation) -> None:
    print_table(
        f"{evaluation.market}, {evaluation.length}",
        ["way to trade", "return", "Sharpe a year", "95 %", "drawdown", "turnover", "trades", "fees"],
        (
            [
                arm.name,
                f"{arm.total_return:.2%}",
                f"{arm.sharpe:.2f}",
                f"{arm.sharpe_low:.1f} to {arm.sharpe_high:.1f}",
                f"{arm.drawdown:.2%}",
                f"{arm.turnover:.1f}",
                str(arm.trades),
                f"{arm.fees_share:.2%}",
            ]
            for arm in evaluation.arms
        ),
        empty="",
        right=("return", "Sharpe a year", "95 %", "drawdown", "turnover", "trades", "fees"),
    )
    out = console()
    out.print(f"[{GOOD if evaluation.has_edge else BAD}]{evaluation.verdict}[/]")
    for reason in evaluation.reasons:
        out.print(f"  - {reason}", markup=False)
    out.print(f"{evaluation.sentence} Every fill is simulated.", style="dim", markup=False)
