"""Commands about the audit log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polaris_synapse.cli.connection import CommandError, connect
from polaris_synapse.cli.output import BAD, GOOD, JsonOption, clock_text, console, print_json, print_table, rows_of

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
    """Prove that nothing in the audit log was changed, removed or cut off."""
    if file is None:
        report = connect().get("compliance", "/audit/verify")
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


def _print_report(report: object) -> None:
    import msgspec

    found = report if isinstance(report, dict) else msgspec.to_builtins(report)
    if not isinstance(found, dict):
        raise CommandError("The desk answered with something that is no audit report.")
    if found["valid"]:
        console().print(
            f"[{GOOD}]The audit log is whole:[/] {found['entries']} entries, "
            f"{found['checkpoints']} signed checkpoints, head {str(found['head_hash'])[:16]}…"
        )
        return
    console().print(f"[{BAD}]The audit log does not verify[/] at entry {found['bad_sequence']}: {found['problem']}")
