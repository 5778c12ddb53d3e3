"""The desk for MCP clients such as desktop assistants."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from polaris_synapse.cli.connection import CommandError, connect

_TOKEN_FILE = "mcp.token"  # noqa: S105  # a file's name, not a token


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel="Jarvis",
        epilog="Examples:  polaris mcp --key-file claude.key.json  |  polaris mcp --http --key-file claude.key.json",
    )(mcp)


def mcp(
    key_file: Annotated[
        Path | None,
        typer.Option(help="The key of role AGENT that the client acts with.", envvar="POLARIS_MCP_KEY_FILE"),
    ] = None,
    http: Annotated[bool, typer.Option("--http", help="Serve HTTP on 127.0.0.1 instead of standard input.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="With --http; 0: the system chooses.")] = 8790,
) -> None:
    """Serve the running desk's tools over MCP. The client acts as an agent: never beyond that agent's mandate."""
    try:
        import mcp as _installed  # noqa: F401  # the optional extra
    except ImportError:
        raise CommandError(
            "MCP takes the extra of that name: uv pip install 'polaris-synapse[mcp]'", exit_code=2
        ) from None
    import anyio

    from polaris_synapse import __version__
    from polaris_synapse.agents.mcp.desk import McpDesk, NotAnAgentError
    from polaris_synapse.agents.mcp.run import serve_http, serve_stdio
    from polaris_synapse.web.signing import read_key_file

    if key_file is None:
        hint = "Make one with: polaris user key claude-key --role AGENT --owner claude --out claude.key.json"
        raise CommandError("Give the agent's key with --key-file.", exit_code=2, hint=hint)
    place = connect().place
    try:
        key = read_key_file(key_file)
    except (OSError, ValueError) as error:
        raise CommandError(f"The key file {key_file} cannot be read: {error}.", exit_code=2) from None
    try:
        if http:
            token = _token()

            def started(bound: int) -> None:
                sys.stderr.write(f"MCP at http://127.0.0.1:{bound}/mcp; the token is in {_token_path()}\n")
                sys.stderr.flush()

            async def over_http() -> None:
                await serve_http(McpDesk(place.url, key), __version__, port=port, token=token, started=started)

            anyio.run(over_http)
        else:

            async def over_stdio() -> None:
                await serve_stdio(McpDesk(place.url, key), __version__)

            anyio.run(over_stdio)
    except NotAnAgentError as error:
        raise CommandError(str(error), exit_code=2) from None


def _token_path() -> Path:
    from polaris_synapse.desk.place import default_data_directory

    directory = Path(os.environ.get("POLARIS_DATA_DIRECTORY") or default_data_directory())
    return directory / "keys" / _TOKEN_FILE


def _token() -> str:
    """POLARIS_MCP_TOKEN, else the one of the data directory, made at the first start."""
    from polaris_synapse.desk.first_start import write_private

    given = os.environ.get("POLARIS_MCP_TOKEN")
    if given:
        if len(given) < 32:
            raise CommandError("POLARIS_MCP_TOKEN has at least 32 characters.", exit_code=2)
        return given
    path = _token_path()
    if not path.is_file():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, secrets.token_urlsafe(32).encode())
    return path.read_text(encoding="ascii").strip()
