"""Users, keys and revoked tokens of a cluster, whose services share no file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "orders_0006"
down_revision = "orders_0005"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "users",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("accounts", sa.Text, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("disabled", sa.SmallInteger, nullable=False),
        sa.Column("created_time_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("verifier", sa.LargeBinary, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("accounts", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("addresses", sa.Text, nullable=False),
        sa.Column("expires_time_ns", sa.BigInteger, nullable=False),
        sa.Column("revoked", sa.SmallInteger, nullable=False),
        sa.Column("created_time_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
    )
    op.create_table(
        "revoked_tokens",
        sa.Column("token_id", sa.Text, nullable=False),
        sa.Column("expires_time_ns", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("token_id"),
    )
    changes = op.create_table(
        "credential_changes",
        sa.Column("id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    # One row that every change counts up, which is what other processes look at.
    op.bulk_insert(changes, [{"id": 1, "version": 0}])


def downgrade() -> None:
    """Remove the tables."""
    for name in ("credential_changes", "revoked_tokens", "api_keys", "users"):
        op.drop_table(name)
