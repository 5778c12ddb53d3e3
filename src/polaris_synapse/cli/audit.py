"""Commands about the audit log."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from polaris_synapse.cli.connection import CommandError, connect
from polaris_synapse.cli.output import BAD, GOOD, JsonOption, clock_text, console, print_json, print_table, rows_of

if TYPE_CHECKING:
    from polaris_synapse.compliance.audit import AuditReport

#: How often, and how long apart, the files are looked at again while they are behind the record.
_FILES_TRIES: Final = 10
_FILES_RETRY_SECONDS: Final = 0.5

audit_app = typer.Typer(help="Read and verify the audit log.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(audit_app, name="audit", rich_help_panel="Prove")


@audit_app.command(epilog="Example:  polaris audit show --limit 20")
def show(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most, newest last.")] = 20,
    json_output: JsonOption = False,
) -> None:
    """Show the newest entries."""
    answer = connect().get("compliance", "/audit", limit=limit, newest="true")
    if json_output:
        print_json(answer)
        return
    print_table(
        "Audit log",
        ["#", "time", "actor", "action", "subject", "detail"],
        (
            [row["sequence"], clock_text(row["time_ns"]), row["actor"], row["action"], row["subject"], row["detail"]]
            for row in rows_of(answer, "entries")
        ),
        empty="The audit log is empty.",
        right=("#",),
        long=("subject", "detail"),
    )


@audit_app.command(epilog="Examples:  polaris audit verify  |  polaris audit verify --file audit/")
def verify(
    file: Annotated[
        Path | None,
        typer.Option(help="A log in JSON lines, or the folder of its days, instead of the desk's record.", exists=True),
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="With --file: the signed checkpoints.", exists=True, dir_okay=False)
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="With --file: the key that signs checkpoints.", exists=True, dir_okay=False)
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Prove that nothing in the audit log was changed, removed or cut off.

    Without --file the desk verifies its record, and the daily files beside it are verified against that record.
    """
    report: dict[str, Any] | AuditReport
    if file is None:
        desk = connect()
        report = _with_files(desk.get("compliance", "/audit/verify"), desk.directory)
    else:
        from polaris_synapse.compliance.audit import verify_file
        from polaris_synapse.compliance.checkpoints import CheckpointError

        try:
            report = verify_file(file, checkpoints, public_key)
        except (CheckpointError, OSError) as error:
            raise CommandError(f"{error}.", exit_code=2) from None
    if json_output:
        print_json(report)
    else:
        _print_report(report)
    if not (report["valid"] if isinstance(report, dict) else report.valid):
        raise typer.Exit(1)


def _with_files(report: Any, directory: Path | None) -> dict[str, Any]:
    """The desk's report with what the daily files in its data directory say, where that is on this machine."""
    from polaris_synapse.compliance.audit import verify_days

    found: dict[str, Any] = dict(report) | {"files_checked": False}
    folder = None if directory is None else directory / "audit"
    if folder is None or not folder.is_dir():
        return found
    for _ in range(_FILES_TRIES):
        days = verify_days(folder, found["entries"], found["head_hash"])
        if not days.problem:
            break
        # The files are written a moment after the record, and the last line may be on its way to the disk.
        time.sleep(_FILES_RETRY_SECONDS)
    found["files_checked"] = True
    if found["valid"] and days.problem:
        found |= {"valid": False, "bad_sequence": days.bad_sequence, "problem": f"in the daily files: {days.problem}"}
    return found


def _print_report(report: object) -> None:
    import msgspec

    found = report if isinstance(report, dict) else msgspec.to_builtins(report)
    if not isinstance(found, dict):
        raise CommandError("The desk answered with something that is no audit report.")
    if found["valid"]:
        files = "; the daily files say the same" if found.get("files_checked") else ""
        console().print(
            f"[{GOOD}]The audit log is whole:[/] {found['entries']} entries, "
            f"{found['checkpoints']} signed checkpoints, head {str(found['head_hash'])[:16]}…{files}"
        )
        return
    console().print(f"[{BAD}]The audit log does not verify[/] at entry {found['bad_sequence']}: {found['problem']}")
