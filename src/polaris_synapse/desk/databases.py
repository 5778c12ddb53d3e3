"""Migrating and showing the desk's databases, whether the desk runs or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct
from sqlalchemy.engine import make_url

from polaris_synapse.desk.data_settings import with_password
from polaris_synapse.desk.loading import ConfigurationError
from polaris_synapse.desk.place import default_data_directory
from polaris_synapse.desk.room_settings import storage_settings
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.storage.database import Database, DatabaseUnavailableError, DatabaseUrlError, open_database
from polaris_synapse.storage.migrate import (
    MigrationState,
    SchemaVersionError,
    compliance_state,
    orders_state,
    upgrade_compliance,
    upgrade_orders,
)


class DatabaseReport(Struct, frozen=True, kw_only=True):
    """One database: where it is (without a password), the version of its tables, and the version this desk needs."""

    name: str
    place: str
    version: str
    needed: str
    is_current: bool


class _Urls(Struct, frozen=True):
    orders: str
    orders_user: str
    compliance: str
    compliance_user: str


async def migrate(settings: DeskSettings, *, say: Callable[[str], None]) -> None:
    """Bring both databases up to date, as their owner where one is set. Raises ConfigurationError."""
    urls = _urls(settings, as_owner=True)
    async with _opened("orders", urls.orders) as database:
        done = await upgrade_orders(database, application_user=urls.orders_user)
        say(f"orders: {'migrated' if done else 'up to date'} ({_place(urls.orders)})")
    async with _opened("compliance", urls.compliance) as database:
        done = await upgrade_compliance(database, application_user=urls.compliance_user)
        say(f"compliance: {'migrated' if done else 'up to date'} ({_place(urls.compliance)})")


async def report(settings: DeskSettings) -> list[DatabaseReport]:
    """Where both databases stand. Raises ConfigurationError."""
    urls = _urls(settings, as_owner=False)
    async with _opened("orders", urls.orders) as database:
        orders = _reported(await orders_state(database), urls.orders)
    async with _opened("compliance", urls.compliance) as database:
        return [orders, _reported(await compliance_state(database), urls.compliance)]


def _urls(settings: DeskSettings, *, as_owner: bool) -> _Urls:
    directory = (settings.data_directory or default_data_directory()).absolute()
    own = storage_settings(directory, settings)
    section, password = settings.databases, settings.db_owner_password
    orders_owner = with_password(section.orders_owner_url, password) if as_owner else ""
    compliance_owner = with_password(section.compliance_owner_url, password) if as_owner else ""
    return _Urls(
        orders=orders_owner or own.orders_url,
        orders_user=_user(own.orders_url) if orders_owner else "",
        compliance=compliance_owner or own.compliance_url,
        compliance_user=_user(own.compliance_url) if compliance_owner else "",
    )


@asynccontextmanager
async def _opened(name: str, url: str) -> AsyncIterator[Database]:
    """The database, with every failure as one sentence that names it."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database and not Path(parsed.database).parent.is_dir():
            raise ConfigurationError(f"There is no folder for {parsed.database}; start the desk once: polaris up")
        database = open_database(url)
    except DatabaseUrlError as error:
        raise ConfigurationError(f"The {name} database cannot be used: {error}.") from None
    try:
        yield database
    except DatabaseUnavailableError as error:
        raise ConfigurationError(f"The {name} database at {_place(url)} does not answer: {error}.") from None
    except SchemaVersionError as error:
        text = str(error)
        raise ConfigurationError(f"{text[:1].upper()}{text[1:]}.") from None
    finally:
        await database.close()


def _reported(state: MigrationState, url: str) -> DatabaseReport:
    return DatabaseReport(
        name=state.database,
        place=_place(url),
        version=state.version,
        needed=state.needed,
        is_current=state.is_current,
    )


def _place(url: str) -> str:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return str(parsed.database)
    return f"{parsed.username or ''}@{parsed.host}:{parsed.port or 5432}/{parsed.database}"


def _user(url: str) -> str:
    return make_url(url).username or ""
