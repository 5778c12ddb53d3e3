"""Commands about receipts: an agent's order from its facts to its fills, checkable by anybody."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polaris_synapse.cli.connection import CommandError, connect
from polaris_synapse.cli.output import BAD, GOOD, QUIET, JsonOption, console, print_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

receipts_app = typer.Typer(
    help="An agent's order from its facts to its fills, as a chain of hashes.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(receipts_app, name="receipts", rich_help_panel="Jarvis")


@receipts_app.command(epilog="Examples:  polaris receipts show D0-12  |  polaris receipts show 1024 --out receipt.json")
def show(
    receipt_id: Annotated[str, typer.Argument(help="A decision (D0-12), a request (A3) or an order (1024).")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the receipt to this file.", dir_okay=False)] = None,
    json_output: JsonOption = False,
) -> None:
    """Show a receipt, or write it to a file that `polaris receipts verify` checks."""
    answer = connect().get("llm_agents", f"/receipts/{receipt_id}")
    if out is not None:
        import msgspec

        try:
            out.write_bytes(msgspec.json.format(msgspec.json.encode(answer), indent=2) + b"\n")
        except OSError as error:
            raise CommandError(f"{out} cannot be written: {error.strerror}.", exit_code=2) from None
        console().print(f"Wrote {out}.", markup=False)
    elif json_output:
        print_json(answer)
    else:
        _print(answer)


@receipts_app.command(epilog="Example:  polaris receipts verify receipt.json --public-key audit-signing.public.pem")
def verify(
    file: Annotated[Path, typer.Argument(help="A receipt as JSON.", exists=True, dir_okay=False)],
    public_key: Annotated[
        Path | None, typer.Option(help="The desk's public key; without it, that of the data directory.", dir_okay=False)
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Check a receipt without a desk: whether any part was changed, removed or moved, and who signed it."""
    from polaris_synapse.agents.receipts import ReceiptError, read_receipt, verify_receipt

    try:
        receipt = read_receipt(file.read_bytes())
    except (OSError, ReceiptError) as error:
        raise CommandError(f"{file}: {error}.", exit_code=2) from None
    report = verify_receipt(receipt, _key(public_key))
    if json_output:
        print_json(report)
    elif report.valid:
        signed = {
            "verified": f"signed by the desk's key {report.key_id}",
            "unchecked": "its signature was not checked: give --public-key",
            "none": f"it is not signed ({receipt.unsigned_because or 'it does not say why'}), so somebody could have "
            "written all of it anew",
        }[report.signature]
        console().print(f"[{GOOD}]The receipt is whole:[/] {report.parts} parts; {signed}.")
    else:
        console().print(f"[{BAD}]The receipt does not verify:[/] {report.problem}.")
    if not report.valid:
        raise typer.Exit(1)


def _key(given: Path | None) -> Ed25519PublicKey | None:
    from polaris_synapse.compliance.checkpoints import CheckpointError, load_public_key
    from polaris_synapse.desk.place import default_data_directory

    directory = Path(os.environ.get("POLARIS_DATA_DIRECTORY") or default_data_directory())
    path = given or directory / "keys" / "audit-signing.public.pem"
    if given is None and not path.is_file():
        return None
    try:
        return load_public_key(path)
    except (OSError, CheckpointError) as error:
        raise CommandError(f"{error}.", exit_code=2) from None


def _print(answer: dict[str, Any]) -> None:
    lines = [f"Receipt {answer['receipt_id']} on account {answer['account']}"]
    lines += [
        f"  {part['number']:>2}  {part['kind']:<9} {part['hash'][:16]}  {_summary(part['kind'], part['body'])}"
        for part in answer["parts"]
    ]
    lines.append(
        f"  signed by key {answer['key_id']}" if answer["signature"] else f"  not signed: {answer['unsigned_because']}"
    )
    console().print("\n".join(lines), markup=False, soft_wrap=True)
    console().print("Keep it with --out FILE; check it with: polaris receipts verify FILE", style=QUIET)


def _summary(kind: str, body: dict[str, Any]) -> str:
    order = body.get("order") or {}
    request = body.get("request") or {}
    fill = body.get("fill") or {}
    what = f"{order.get('side', '')} {order.get('symbol', '')}"
    decided = f"{body.get('state', '')} by {body.get('decided_by') or 'nobody'}"
    return {
        "prompt": f"case {str(body.get('case_digest', ''))[:16]}, {len(body.get('call_digests', []))} model calls",
        "facts": f"{len(body.get('facts', []))} facts, {len(body.get('votes', []))} votes",
        "proposal": f"{body.get('actor', '')}: {body.get('view', '')} {what}",
        "verdict": f"{body.get('action', '')} {body.get('reason', '')}".strip(),
        "approval": f"request {body.get('approval_id', '')} {decided}",
        "order": f"order {body.get('order_id', '')} {body.get('state', '')} {request.get('side', '')}",
        "fill": f"{fill.get('quantity_lots', '')} lots at {fill.get('price_ticks', '')} ticks, "
        f"{'simulated' if fill.get('simulated') else 'real'}",
    }[kind]
