"""Writes docs/reference/ from the code: reason codes, topics, settings and commands.

Usage: .venv/bin/python scripts/generate_reference.py [--check]

With --check nothing is written; the exit code says whether the pages are up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import BaseModel

from polaris_synapse.cli.main import app
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.domain.orders import TRANSITIONS
from polaris_synapse.domain.reasons import EXPLANATIONS, Reason
from polaris_synapse.domain.topics import ROUTES
from polaris_synapse.web.errors import http_status

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "reference"
_MADE_BY: Final = "<!-- Made by scripts/generate_reference.py; edit the code instead. -->\n\n"


def reasons_page() -> str:
    """Every reason code with its HTTP status and sentence."""
    lines = [
        "# Reason codes",
        "",
        "Why something was refused or ended. The numbers are stable: in API answers, logs, metrics and SQL.",
        "",
        "| code | name | HTTP | meaning |",
        "|---|---|---|---|",
    ]
    for reason in Reason:
        status = "" if reason is Reason.NONE else http_status(reason)
        lines.append(f"| {reason.value} | `{reason.name}` | {status} | {EXPLANATIONS[reason]} |")
    return "\n".join(lines) + "\n"


def messages_page() -> str:
    """Every message with its topics, and the order table."""
    lines = [
        "# Messages and topics",
        "",
        "A message's type says where it goes.",
        "",
        "| message | topics |",
        "|---|---|",
    ]
    for kind, route in sorted(ROUTES.items(), key=lambda item: item[0].__name__):
        lines.append(f"| `{kind.__name__}` | {', '.join(f'`{topic}`' for topic in route.topics)} |")
    lines += [
        "",
        "## The order table",
        "",
        "What is not here raises.",
        "",
        "| state | event | next state |",
        "|---|---|---|",
    ]
    lines += [f"| {state} | {event} | {target} |" for (state, event), target in TRANSITIONS.items()]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Every setting with its type, default and environment variable."""
    lines = [
        "# Settings",
        "",
        "From `configs/*.yml`, `.env`, the environment and the command's options; the later of these wins.",
        "",
        "| setting | environment variable | default |",
        "|---|---|---|",
    ]
    lines += _rows(DeskSettings, "", "POLARIS_")
    return "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], path: str, prefix: str) -> list[str]:
    rows: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        alias = field.validation_alias
        variable = alias.choices[0] if alias is not None and not isinstance(alias, str) else f"{prefix}{name.upper()}"  # type: ignore[union-attr]  # AliasPath is not used
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += _rows(kind, f"{path}{name}.", f"{variable}__")
        else:
            rows.append(f"| `{path}{name}` | `{variable}` | {_default(field)} |")
    return rows


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    return "" if field.default is None else f"`{field.default}`"


def commands_page() -> str:
    """Every command with its arguments and options."""
    lines = ["# Commands", "", "`polaris COMMAND --help` says the same.", ""]
    group = typer.main.get_command(app)
    for path, command in sorted(_walk(group, ())):
        lines += [f"## polaris {' '.join(path)}", "", str(command.help or "").strip(), ""]
        for parameter in command.params:
            names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            text = getattr(parameter, "help", None)
            if parameter.name != "help":
                lines.append(f"- {names}: {text}" if text else f"- {names}")
        if command.epilog:
            lines += ["", command.epilog.replace("|", "·")]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _walk(command: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        return [(path, command)]
    return [found for name, child in children.items() for found in _walk(child, (*path, name))]


PAGES: Final[dict[str, Callable[[], str]]] = {
    "reasons.md": reasons_page,
    "messages.md": messages_page,
    "settings.md": settings_page,
    "commands.md": commands_page,
}


def stale_pages(*, write: bool) -> list[str]:
    """Names of the pages that differ from the code; with ``write`` they are written."""
    stale: list[str] = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, _MADE_BY + make()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if write:
                path.write_text(text, encoding="utf-8")
    return stale


def main() -> int:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description="Write docs/reference/ from the code.")
    parser.add_argument("--check", action="store_true", help="only say whether the pages are up to date")
    check = parser.parse_args().check
    stale = stale_pages(write=not check)
    sys.stdout.write(f"{'stale' if check else 'written'}: {', '.join(stale) or 'none'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
