"""Brings a database's tables up to date. Alembic is imported only where there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database

_FOLDER: Final = Path(__file__).parent / "migrations"

#: The newest migration of each database.
ORDERS_HEAD: Final = "orders_0001"
COMPLIANCE_HEAD: Final = "compliance_0001"


class SchemaVersionError(RuntimeError):
    """A database was made by a newer version of the desk."""


async def upgrade_orders(database: Database) -> bool:
    """Bring the database of orders up to date; True where something was done. Raises SchemaVersionError."""
    return await _upgrade(database, "orders", ORDERS_HEAD, schema.ORDERS)


async def upgrade_compliance(database: Database) -> bool:
    """Bring the database of compliance up to date; True where something was done. Raises SchemaVersionError."""
    return await _upgrade(database, "compliance", COMPLIANCE_HEAD, schema.COMPLIANCE)


async def _upgrade(database: Database, branch: str, head: str, metadata: sa.MetaData) -> bool:
    if await database.read(_version) == head:
        return False
    await database.write(lambda connection: _run_alembic(connection, branch, metadata))
    return True


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
