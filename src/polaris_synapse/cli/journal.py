"""Commands about the journal: prove it, take it out, and go back in time with it. They change nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polaris_synapse.cli.connection import CommandError
from polaris_synapse.cli.output import BAD, GOOD, QUIET, JsonOption, console, print_json, print_table

if TYPE_CHECKING:
    from polaris_synapse.bus.journal_reader import Progress, Verification
    from polaris_synapse.desk.journal_replay import ReplayReport
    from polaris_synapse.desk.journal_views import Row

journal_app = typer.Typer(help="Verify, export and replay the journal, of a stopped or a running desk.")

DirectoryOption = Annotated[Path | None, typer.Option(help="The desk's data directory.")]
AccountOption = Annotated[str, typer.Option("--account", "-a", help="Only this account.")]


class View(StrEnum):
    """What to show of the state that a replay came to."""

    ACCOUNTS = "accounts"
    ORDERS = "orders"
    POSITIONS = "positions"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(journal_app, name="journal", rich_help_panel="Prove")


@journal_app.command(epilog="Examples:  polaris journal verify  |  polaris journal verify --data-directory backup")
def verify(data_directory: DirectoryOption = None, json_output: JsonOption = False) -> None:
    """Check every record and every snapshot against its checksum and its place."""
    from polaris_synapse.bus.journal_reader import JournalReader

    with _reporting(), JournalReader(_journal_directory(data_directory)) as journal:
        with _progress("Verifying", journal.first_offset, journal.last_offset) as progress:
            report = journal.verify(progress)
        path = journal.path
    if json_output:
        print_json(report)
    else:
        _print_verification(report, path)
    if not report.whole:
        raise typer.Exit(1)


@journal_app.command(
    epilog="Examples:  polaris journal export --out journal.jsonl  |  "
    "polaris journal export --kind SubmitOrder --account main --from 1000 --to 2000"
)
def export(
    from_offset: Annotated[int, typer.Option("--from", min=1, help="The first offset.")] = 1,
    to_offset: Annotated[int, typer.Option("--to", min=0, help="The last offset; 0 for the end.")] = 0,
    kind: Annotated[list[str] | None, typer.Option(help="Only messages of this kind; may be repeated.")] = None,
    account: AccountOption = "",
    out: Annotated[Path | None, typer.Option(help="A file instead of standard output.")] = None,
    data_directory: DirectoryOption = None,
) -> None:
    """Write messages as JSON lines, each as it was journaled, with its offset."""
    from polaris_synapse.desk.journal_export import ExportFilter, UnknownKindError, export_lines, parse_kinds

    try:
        wanted = ExportFilter(
            from_offset=from_offset, to_offset=to_offset, kinds=parse_kinds(kind or []), account=account
        )
    except UnknownKindError as error:
        raise CommandError(f"{str(error).capitalize()}.", exit_code=2) from None
    directory = _journal_directory(data_directory)
    written = 0
    try:
        with _reporting(), _lines_to(out) as write:
            for line in export_lines(directory, wanted):
                write(line)
                written += 1
    except BrokenPipeError:
        # The reader had enough (`| head`). Nothing more can be said on a closed pipe, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    except OSError as error:
        raise CommandError(f"{out or 'Standard output'} cannot be written: {error.strerror}.") from None
    if out is not None:
        console().print(f"Wrote {written} messages to {out}.")


@journal_app.command(
    epilog="Examples:  polaris journal replay  |  polaris journal replay --until 12345 --show orders  |  "
    "polaris journal replay --until 2026-11-22T14:30:00Z --show accounts"
)
def replay(
    until: Annotated[str, typer.Option(help="An offset, or a time such as 2026-11-22T14:30:00Z.")] = "",
    show: Annotated[View | None, typer.Option(help="Show the state then.")] = None,
    account: AccountOption = "",
    from_snapshot: Annotated[
        bool, typer.Option("--from-snapshot", help="Begin at the newest snapshot before, not at the first message.")
    ] = False,
    config: Annotated[str, typer.Option(help="The settings that the desk ran with.", envvar="POLARIS_CONFIG")] = "",
    data_directory: DirectoryOption = None,
    json_output: JsonOption = False,
) -> None:
    """Make the state of the past again, and compare it with the snapshots that the desk took on the way."""
    from polaris_synapse.bus.journal_reader import JournalReader
    from polaris_synapse.desk.cores import durable_cores
    from polaris_synapse.desk.journal_replay import Replay
    from polaris_synapse.desk.journal_views import Show, rows_of_state
    from polaris_synapse.desk.loading import ConfigurationError, load_settings

    until_offset, until_ns = _moment(until)
    try:
        cores = durable_cores(load_settings(config or None))
    except ConfigurationError as error:
        raise CommandError(str(error), exit_code=2) from None
    run = Replay(cores._asdict())
    with _reporting(), JournalReader(_journal_directory(data_directory)) as journal:
        run.start(journal, until_offset=until_offset, until_ns=until_ns, use_snapshots=from_snapshot)
        end = min(until_offset or journal.last_offset, journal.last_offset)
        with _progress("Replaying", run.offset, end) as progress:
            report = run.follow(journal, until_offset=until_offset, until_ns=until_ns, progress=progress)
    rows = rows_of_state(cores.risk, Show(show.value), account) if show is not None else None
    if json_output:
        print_json({"replay": report} | ({show.value: rows} if show is not None else {}))
    else:
        _print_replay(report)
        if show is not None:
            _print_rows(show, rows or [])
    if not report.agrees:
        raise typer.Exit(1)


def _journal_directory(given: Path | None) -> Path:
    from polaris_synapse.desk.place import default_data_directory

    named = os.environ.get("POLARIS_DATA_DIRECTORY")
    directory = given or (Path(named) if named else default_data_directory())
    return directory / "journal"


def _moment(text: str) -> tuple[int, int]:
    """An offset or nanoseconds since 1970, the other 0. Raises CommandError."""
    if not text:
        return 0, 0
    if text.isascii() and text.isdecimal():
        return int(text), 0
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CommandError(
            f"{text} is neither an offset nor a time such as 2026-11-22T14:30:00Z.", exit_code=2
        ) from None
    # A time without a zone is meant as everything here is shown: in UTC.
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return 0, (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


@contextmanager
def _reporting() -> Iterator[None]:
    """A journal that cannot be read is one sentence for a person."""
    from polaris_synapse.bus.journal import JournalError
    from polaris_synapse.bus.journal_reader import JournalMissingError
    from polaris_synapse.bus.recovery import HostFailedError

    try:
        yield
    except JournalMissingError as error:
        raise CommandError(f"{_sentence(error)}", exit_code=3, hint="Name another with --data-directory.") from None
    except (JournalError, HostFailedError) as error:
        raise CommandError(_sentence(error)) from None


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


@contextmanager
def _lines_to(out: Path | None) -> Iterator[Callable[[bytes], object]]:
    if out is None:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    with out.open("wb") as file:
        yield file.write


@contextmanager
def _progress(what: str, first: int, last: int) -> Iterator[Progress | None]:
    """A bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("messages"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=max(last - first + 1, 1))
        yield lambda offset: bar.update(task, completed=offset - first + 1)


def _moment_text(time_ns: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if time_ns else "—"


def _print_verification(report: Verification, path: Path) -> None:
    out = console()
    out.print(f"{path}" + (f" (a desk writes to it: process {report.desk_process})" if report.desk_process else ""))
    out.print(
        f"  {report.messages:,} messages in {report.groups:,} records, offsets {report.first_offset} to "
        f"{report.last_offset}, {_moment_text(report.first_time_ns)} to {_moment_text(report.last_time_ns)}"
    )
    listed = ", ".join(map(str, report.snapshots)) or "none"
    out.print(f"  snapshots at {listed}; {report.bytes_read:,} bytes read, {report.bytes_on_disk:,} on disk")
    rate = report.messages / report.seconds if report.seconds else 0
    out.print(f"  checked in {report.seconds:.2f} s, {rate:,.0f} messages a second", style=QUIET)
    if report.whole:
        out.print(f"[{GOOD}]The journal is whole.[/]")
        return
    for problem in report.problems:
        out.print(f"[{BAD}]{problem.kind}[/] at offset {problem.offset}: {problem.detail}")
    if all(problem.kind == "tail" for problem in report.problems):
        out.print("Only its very end is damaged: the desk cuts that when it starts, and says so.")
    else:
        out.print("Restore the data directory from a backup, or keep it for inspection.", style=BAD)


def _print_replay(report: ReplayReport) -> None:
    out = console()
    began = f"the snapshot at offset {report.started_from}" if report.started_from else "the first message"
    rate = report.messages / report.seconds if report.seconds else 0
    out.print(f"Replayed {report.messages:,} messages from {began}, in {report.seconds:.2f} s ({rate:,.0f} a second).")
    out.print(f"The state is that of offset {report.offset}, {_moment_text(report.time_ns)}.")
    for name, state_hash in sorted(report.state_hashes.items()):
        out.print(f"  {name:<12}{state_hash}")
    for comparison in report.snapshots:
        if comparison.differing:
            cores = ", ".join(comparison.differing)
            out.print(f"[{BAD}]The snapshot at offset {comparison.offset} differs[/] in {cores}.")
        else:
            out.print(f"[{GOOD}]The snapshot at offset {comparison.offset} agrees.[/]")


def _print_rows(show: View, rows: list[Row]) -> None:
    # What --json has besides would not fit beside it on a terminal.
    left_out = {"client_order_id", "reason", "open"}
    fields = [name for name in rows[0].__struct_fields__ if name not in left_out] if rows else []
    print_table(
        show.value.capitalize(),
        fields,
        ([getattr(row, name) for name in fields] for row in rows),
        empty=f"There are no {show.value}.",
        right=("total", "free", "reserved", "quantity", "filled", "price", "cost", "realised_pnl", "fees"),
    )
