"""Settings of what a clustered desk keeps outside of its processes: the two databases and the cache.

A URL may hold its password, or leave it to ``DB_PASSWORD``, ``COMPLIANCE_DB_PASSWORD``, ``DB_OWNER_PASSWORD`` and
``REDIS_PASSWORD``, so that the URL itself can stand in a file that everybody reads.
"""

from __future__ import annotations

from typing import Final, Literal, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

#: What .env may hold for docker-compose.yml and the desk itself has no use for.
DEPLOYMENT_VARIABLES: Final = frozenset(
    {
        "desk_admin_password",
        "db_replication_password",
        "desk_image",
        "desk_version",
        "desk_public_address",
        "desk_network",
    }
)
_DATABASE_SCHEMES: Final = frozenset({"postgresql", "postgresql+asyncpg"})
_CACHE_SCHEMES: Final = frozenset({"redis", "rediss", "redis+cluster", "redis+sentinel"})


class DatabasesSection(BaseModel):
    """Where the SQL read models live. Without URLs: two SQLite files in the data directory.

    ``..._replica_url``: a streaming replica that answers reads; one that lags or is gone is passed over.
    ``credentials``: where users and keys are kept, in the data directory's ``file`` auth.sqlite3 or in the database of
    ``orders``, which processes that share no directory need.
    ``..._owner_url``: who makes and changes the tables (``polaris database migrate``), where that is not the desk.
    ``writer_processes``: the desk that runs as one process has each SQLite file written by a process of its own, which
    leaves more of its core to orders. Off saves their memory, 41 MB each at the start; PostgreSQL never has them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    orders_url: SecretStr | None = None
    orders_replica_url: SecretStr | None = None
    orders_owner_url: SecretStr | None = None
    compliance_url: SecretStr | None = None
    compliance_replica_url: SecretStr | None = None
    compliance_owner_url: SecretStr | None = None
    readers_max: int = Field(default=2, ge=1, le=50)
    writer_processes: bool = True
    credentials: Literal["file", "orders"] = "file"

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_absent(cls, value: object) -> object:
        """A URL left empty in the environment is one that is not set."""
        return None if value == "" else value

    @field_validator("*", mode="after")
    @classmethod
    def _is_postgresql(cls, value: object) -> object:
        if isinstance(value, SecretStr) and urlsplit(value.get_secret_value()).scheme not in _DATABASE_SCHEMES:
            raise ValueError("a database URL of the desk looks like postgresql://matcher@postgres:5432/orderdb")
        return value

    @model_validator(mode="after")
    def _credentials_have_a_database(self) -> Self:
        if self.credentials == "orders" and self.orders_url is None:
            raise ValueError("databases.credentials: orders takes databases.orders_url, where users and keys then are")
        return self


class CacheSection(BaseModel):
    """The cache that several gateways share. Without a URL each process keeps what it knows to itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr | None = None
    operation_seconds_max: float = Field(default=0.25, gt=0, le=10)

    @field_validator("url", mode="before")
    @classmethod
    def _blank_is_absent(cls, value: object) -> object:
        """A URL left empty in the environment is one that is not set."""
        return None if value == "" else value

    @field_validator("url", mode="after")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and urlsplit(value.get_secret_value()).scheme not in _CACHE_SCHEMES:
            raise ValueError(
                "a cache URL looks like redis://redis:6379/0, redis+cluster://host:6379,host:6379 "
                "or redis+sentinel://host:26379,host:26379/name"
            )
        return value


def with_password(url: SecretStr | None, password: SecretStr | None) -> str:
    """The URL as text, with the password put in where it has none; empty without a URL."""
    if url is None:
        return ""
    parts = urlsplit(url.get_secret_value())
    user, at, hosts = parts.netloc.rpartition("@")
    if password is None or ":" in user:
        return url.get_secret_value()
    filled = f"{user if at else ''}:{quote(password.get_secret_value(), safe='')}@{hosts}"
    return urlunsplit(parts._replace(netloc=filled))
