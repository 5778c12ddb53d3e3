"""Commands about who may use the desk. They need the data directory, not a running desk."""

from __future__ import annotations

import typer

users_app = typer.Typer(help="People who may log in.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(users_app, name="user", rich_help_panel="Operate")
