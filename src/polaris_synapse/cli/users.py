"""Commands about who may use the desk. They work on the data directory, whether the desk runs or not."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from polaris_synapse.cli.connection import CommandError
from polaris_synapse.cli.output import JsonOption, console, print_json, print_table
from polaris_synapse.desk.place import default_data_directory

if TYPE_CHECKING:
    from polaris_synapse.order_gateway.credentials import KeptCredentials
    from polaris_synapse.web.authentication import Role
    from polaris_synapse.web.signing import Algorithm

#: A desk looks once a second whether its users and keys were changed from outside.
_DESK_LOOKS_SECONDS = 1.2

users_app = typer.Typer(help="People and programs that may use the desk.", no_args_is_help=True)

RoleName = Annotated[
    str, typer.Option("--role", help="VIEWER, TRADER, RISK_OFFICER, COMPLIANCE_OFFICER, ADMIN or (keys) AGENT.")
]
Accounts = Annotated[str, typer.Option("--accounts", help="Account names with commas between, or * for all.")]
Config = Annotated[
    str, typer.Option("--config", help="development, production, or a YAML file.", envvar="POLARIS_CONFIG")
]
Directory = Annotated[Path | None, typer.Option("--data-directory", help="The desk's data directory.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(users_app, name="user", rich_help_panel="Operate")


@users_app.command(
    epilog="Examples:  polaris user add alice --role TRADER --accounts main"
    "  |  polaris user add admin --role ADMIN --accounts '*' --if-none"
)
def add(
    name: Annotated[str, typer.Argument(help="The user's name.")],
    role: RoleName = "TRADER",
    accounts: Accounts = "main",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    if_none: Annotated[
        bool, typer.Option("--if-none", help="Change nothing where somebody of this role may log in already.")
    ] = False,
    data_directory: Directory = None,
    config: Config = "",
) -> None:
    """Add somebody who may log in, or change their password, role or accounts."""
    from polaris_synapse.bus.clock import SystemClock
    from polaris_synapse.order_gateway.credentials import CredentialError, User
    from polaris_synapse.order_gateway.passwords import hash_password

    wanted = _role(role)
    try:
        with _credentials(data_directory, config) as store:
            there = [one.name for one in store.all_users() if one.role is wanted and one.may_log_in]
            if if_none and there:
                console().print(f"{there[0]} may log in as {wanted} already; nothing was changed.")
                return
            user = User(
                name=name,
                password_hash=hash_password(_password(from_stdin=password_stdin)),
                role=wanted,
                accounts=_accounts(accounts),
                created_time_ns=SystemClock().now_ns(),
            )
            store.put_user(user)
    except CredentialError as error:
        raise CommandError(str(error), exit_code=2) from None
    _let_the_desk_see(data_directory)
    console().print(f"{name} may log in as {wanted}.")


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


@users_app.command(epilog="Example:  polaris user remove alice")
def remove(
    name: Annotated[str, typer.Argument(help="The user's name.")], data_directory: Directory = None, config: Config = ""
) -> None:
    """Let somebody log in no more; their sessions end too."""
    with _credentials(data_directory, config) as store:
        user = store.user(name)
        if user is None:
            raise CommandError(f"There is no user {name}.")
        store.put_user(msgspec.structs.replace(user, disabled=True))
    _let_the_desk_see(data_directory)
    console().print(f"{name} may no longer log in.")


@users_app.command(
    epilog="Examples:  polaris user key my-bot --accounts main --out bot.key.json"
    "  |  polaris user key old-bot --algorithm HMAC_SHA256 --address 10.1.0.0/16 --out old-bot.key.json"
)
def key(
    key_id: Annotated[str, typer.Argument(help="The key's name.")],
    out: Annotated[Path, typer.Option("--out", help="Where the private key goes; the file must not exist.")],
    role: RoleName = "TRADER",
    accounts: Accounts = "main",
    days: Annotated[int, typer.Option(min=0, help="Days until it expires; 0: never.")] = 90,
    algorithm: Annotated[
        str,
        typer.Option(
            "--algorithm",
            help="ED25519: the desk holds only the public half. HMAC_SHA256: for clients without Ed25519.",
        ),
    ] = "ED25519",
    owner: Annotated[str, typer.Option("--owner", help="For role AGENT: the agent in whose name it speaks.")] = "",
    addresses: Annotated[
        list[str] | None, typer.Option("--address", help="A network it may be used from; may be repeated.")
    ] = None,
    data_directory: Directory = None,
    config: Config = "",
) -> None:
    """Make a key for a program that signs its requests, by Ed25519 or HMAC."""
    from polaris_synapse.bus.clock import SystemClock
    from polaris_synapse.order_gateway.credentials import ApiKey, CredentialError
    from polaris_synapse.web.signing import new_key, verifier_of, write_key_file

    now_ns = SystemClock().now_ns()
    networks = _networks(addresses or [])
    made = new_key(key_id, _algorithm(algorithm))
    try:
        with _credentials(data_directory, config) as store:
            if store.key(key_id) is not None:
                raise CommandError(f"There is a key {key_id} already; choose another name.")
            entry = ApiKey(
                key_id=key_id,
                algorithm=made.algorithm,
                verifier=verifier_of(made),
                role=_role(role),
                accounts=_accounts(accounts),
                owner=owner,
                addresses=networks,
                expires_time_ns=_end_ns(now_ns, days),
                created_time_ns=now_ns,
            )
            write_key_file(out, made)
            store.put_key(entry)
    except CredentialError as error:
        out.unlink(missing_ok=True)
        raise CommandError(str(error), exit_code=2) from None
    except FileExistsError:
        raise CommandError(f"{out} exists; nothing was changed.", exit_code=2) from None
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror}.", exit_code=2) from None
    _let_the_desk_see(data_directory)
    console().print(f"The key {key_id} is in {out}; only you can read it.")


@users_app.command(epilog="Example:  polaris user rotate my-bot --out my-bot-2.key.json")
def rotate(
    key_id: Annotated[str, typer.Argument(help="The key's name.")],
    out: Annotated[Path, typer.Option("--out", help="Where the new private key goes; the file must not exist.")],
    days: Annotated[int, typer.Option(min=0, help="Days until the new one expires; 0: never.")] = 90,
    data_directory: Directory = None,
    config: Config = "",
) -> None:
    """Make a key's successor, which may do the same. Both hold until the old one is revoked."""
    from polaris_synapse.bus.clock import SystemClock
    from polaris_synapse.web.signing import new_key, verifier_of, write_key_file

    now_ns = SystemClock().now_ns()
    try:
        with _credentials(data_directory, config) as store:
            old = store.key(key_id)
            if old is None or old.revoked:
                raise CommandError(f"There is no key {key_id} that still holds.")
            made = new_key(_next_name(key_id, {entry.key_id for entry in store.all_keys()}), old.algorithm)
            entry = msgspec.structs.replace(
                old,
                key_id=made.key_id,
                verifier=verifier_of(made),
                created_time_ns=now_ns,
                expires_time_ns=_end_ns(now_ns, days),
            )
            write_key_file(out, made)
            store.put_key(entry)
    except FileExistsError:
        raise CommandError(f"{out} exists; nothing was changed.", exit_code=2) from None
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror}.", exit_code=2) from None
    _let_the_desk_see(data_directory)
    console().print(f"The key {made.key_id} is in {out}; only you can read it.")
    console().print(f"Once its program uses it, void the old one: polaris user revoke {key_id}")


def _next_name(key_id: str, taken: set[str]) -> str:
    """``bot`` is followed by ``bot-2``, ``bot-2`` by ``bot-3``, and names that were given are passed over."""
    base, dash, number = key_id.rpartition("-")
    if not dash or not number.isdecimal():
        base, number = key_id, "1"
    return next(name for count in itertools.count(int(number) + 1) if (name := f"{base}-{count}") not in taken)


def _end_ns(now_ns: int, days: int) -> int:
    """When a key of so many days ends; 0 for never."""
    return now_ns + days * 86_400 * 10**9 if days else 0


@users_app.command(epilog="Example:  polaris user revoke my-bot")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's name.")],
    data_directory: Directory = None,
    config: Config = "",
) -> None:
    """Void a key at once."""
    with _credentials(data_directory, config) as store:
        found = store.key(key_id)
        if found is None:
            raise CommandError(f"There is no key {key_id}.")
        store.put_key(msgspec.structs.replace(found, revoked=True))
    _let_the_desk_see(data_directory)
    console().print(f"The key {key_id} is void.")


@users_app.command(name="list", epilog="Example:  polaris user list --json")
def list_users(json_output: JsonOption = False, data_directory: Directory = None, config: Config = "") -> None:
    """List users and keys, without their secrets."""
    with _credentials(data_directory, config) as store:
        rows: list[dict[str, Any]] = [
            {
                "kind": "user",
                "name": user.name,
                "role": user.role.value,
                "accounts": user.accounts,
                "algorithm": "",
                "state": "disabled" if user.disabled else "",
                "expires_time_ns": 0,
            }
            for user in store.all_users()
        ] + [
            {
                "kind": "key",
                "name": entry.key_id,
                "role": entry.role.value,
                "accounts": entry.accounts,
                "algorithm": entry.algorithm.value,
                "state": "revoked" if entry.revoked else "",
                "expires_time_ns": entry.expires_time_ns,
            }
            for entry in store.all_keys()
        ]
    if json_output:
        print_json(rows)
        return
    print_table(
        "Users and keys",
        ["kind", "name", "role", "accounts", "algorithm", "state"],
        (
            [row["kind"], row["name"], row["role"], ", ".join(row["accounts"]), row["algorithm"], row["state"]]
            for row in rows
        ),
        empty="There are no users and no keys yet.",
    )


@contextmanager
def _credentials(data_directory: Path | None, config: str) -> Iterator[KeptCredentials]:
    """The store that the desk of these settings uses. Raises CommandError where it cannot be used."""
    from polaris_synapse.bus.clock import SystemClock
    from polaris_synapse.desk.credentials import kept_credentials
    from polaris_synapse.desk.first_start import prepare_directory
    from polaris_synapse.desk.loading import ConfigurationError, load_settings
    from polaris_synapse.order_gateway.credentials import CredentialError
    from polaris_synapse.storage.database import DatabaseUnavailableError
    from polaris_synapse.web.errors import ApiError

    directory, clock = _directory(data_directory), SystemClock()
    try:
        settings = load_settings(config or None)
        prepare_directory(directory)
    except ConfigurationError as error:
        raise CommandError(str(error), exit_code=2) from None
    store = kept_credentials(settings, directory, clock)
    try:
        store.open(now_ns=clock.now_ns())
        yield store
    except CredentialError as error:
        raise CommandError(str(error), exit_code=2) from None
    except DatabaseUnavailableError as error:
        raise CommandError(f"The database of users and keys does not answer: {error}.", exit_code=2) from None
    except ApiError as error:
        raise CommandError(error.detail, exit_code=2) from None
    finally:
        store.close()


def _let_the_desk_see(data_directory: Path | None) -> None:
    """Return when a desk that runs knows what was changed, so that the next command is not refused."""
    import time

    from polaris_synapse.desk.place import running_place

    if running_place(_directory(data_directory)) is not None:
        time.sleep(_DESK_LOOKS_SECONDS)


def _directory(given: Path | None) -> Path:
    return given or Path(os.environ.get("POLARIS_DATA_DIRECTORY") or default_data_directory())


def _role(name: str) -> Role:
    from polaris_synapse.web.authentication import Role

    try:
        return Role(name.upper())
    except ValueError:
        raise CommandError(f"{name} is no role; use one of: {', '.join(Role)}.", exit_code=2) from None


def _algorithm(name: str) -> Algorithm:
    from polaris_synapse.web.signing import Algorithm

    try:
        return Algorithm(name.upper())
    except ValueError:
        raise CommandError(f"{name} is no algorithm; use one of: {', '.join(Algorithm)}.", exit_code=2) from None


def _networks(texts: list[str]) -> tuple[str, ...]:
    import ipaddress

    try:
        return tuple(str(ipaddress.ip_network(text, strict=False)) for text in texts)
    except ValueError as error:
        raise CommandError(f"{error}; write a network such as 10.0.0.0/8.", exit_code=2) from None


def _accounts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
