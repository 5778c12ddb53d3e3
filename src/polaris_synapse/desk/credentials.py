"""Where a desk keeps its users and keys, by its settings: a file of its own, or the database of orders."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from polaris_synapse.bus.clock import Clock
from polaris_synapse.desk.loading import ConfigurationError
from polaris_synapse.desk.room_settings import storage_settings
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.order_gateway.credentials import CredentialError, KeptCredentials
from polaris_synapse.order_gateway.credentials_sqlite import SqliteCredentials
from polaris_synapse.order_gateway.service import GatewayService

FILE_NAME: Final = "auth.sqlite3"


def kept_credentials(settings: DeskSettings, directory: Path, clock: Clock) -> KeptCredentials:
    """The store; it connects when it is opened. A database that is still empty takes the file's users and keys over."""
    file = directory / FILE_NAME
    if settings.databases.credentials == "file":
        return SqliteCredentials(file)
    from polaris_synapse.order_gateway.credentials_database import DatabaseCredentials
    from polaris_synapse.storage.database import open_database

    url = storage_settings(directory, settings).orders_url
    return DatabaseCredentials(lambda: open_database(url, synchronous="FULL", readers_max=1), clock, adopted=file)


def open_credentials(gateway: GatewayService) -> None:
    """Open a gateway's users and keys. Raises ConfigurationError where they cannot be used."""
    try:
        gateway.open()
    except CredentialError as error:
        raise ConfigurationError(f"Users and keys cannot be used: {str(error).removesuffix('.')}.") from None
