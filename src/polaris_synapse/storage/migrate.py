"""Brings a database's tables up to date. Alembic is imported only where there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.engine import Connection

from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database, sqlstate
from polaris_synapse.storage.grants import grant_application_rights

#: PostgreSQL's code for a statement that the user has no right to.
_INSUFFICIENT_PRIVILEGE: Final = "42501"
_FOLDER: Final = Path(__file__).parent / "migrations"

#: The newest migration of each database.
ORDERS_HEAD: Final = "orders_0006"
COMPLIANCE_HEAD: Final = "compliance_0003"


#: Of all processes that start at once on one PostgreSQL database, one migrates and the others wait.
_LOCK: Final = 7_203_113_941_882_301


class SchemaVersionError(RuntimeError):
    """The tables are not of this desk's version, and it cannot change them; the message says what to do."""


class MigrationState(Struct, frozen=True, kw_only=True):
    """One database's version, and the version this desk needs. An empty ``version`` is a database without tables."""

    database: str
    version: str
    needed: str

    @property
    def is_current(self) -> bool:
        """Whether nothing is left to do."""
        return self.version == self.needed


async def upgrade_orders(database: Database, *, application_user: str = "") -> bool:
    """Bring the database of orders up to date; True where something was done. Raises SchemaVersionError.

    ``application_user``: the user that the desk connects as, where another one owns the tables (PostgreSQL).
    """
    return await _upgrade(database, "orders", ORDERS_HEAD, schema.ORDERS, application_user)


async def upgrade_compliance(database: Database, *, application_user: str = "") -> bool:
    """Bring the database of compliance up to date, as ``upgrade_orders`` does."""
    return await _upgrade(database, "compliance", COMPLIANCE_HEAD, schema.COMPLIANCE, application_user)


async def orders_state(database: Database) -> MigrationState:
    """Where the database of orders stands. Raises DatabaseUnavailableError."""
    return MigrationState(database="orders", version=await database.read(_version), needed=ORDERS_HEAD)


async def compliance_state(database: Database) -> MigrationState:
    """Where the database of compliance stands. Raises DatabaseUnavailableError."""
    return MigrationState(database="compliance", version=await database.read(_version), needed=COMPLIANCE_HEAD)


async def _upgrade(database: Database, branch: str, head: str, metadata: sa.MetaData, application_user: str) -> bool:
    before = await database.read(_version)
    if before == head and not application_user:
        return False

    def work(connection: Connection) -> bool:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        changed = _version(connection) != head
        if changed:
            _run_alembic(connection, branch, metadata)
        if application_user:
            grant_application_rights(connection, metadata, application_user)
        return changed

    try:
        return await database.write(work)
    except sa.exc.DBAPIError as error:
        if sqlstate(error) != _INSUFFICIENT_PRIVILEGE:
            raise
        raise SchemaVersionError(
            f"the {branch} database has version {before or 'none'}, this desk needs {head}, and its user may not "
            "change the tables; run: polaris database migrate"
        ) from error


def _version(connection: Connection) -> str:
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return str(found or "")


def _run_alembic(connection: Connection, branch: str, metadata: sa.MetaData) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(_FOLDER / branch).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SchemaVersionError(
            f"the {branch} database has version {_version(connection)!r}, which this desk does not know: {error}"
        ) from error
