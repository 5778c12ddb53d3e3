"""An index for alerts by status, and in PostgreSQL a guard of the audit log that replication roles cannot pass."""

from __future__ import annotations

from alembic import op

revision = "compliance_0002"
down_revision = "compliance_0001"


def upgrade() -> None:
    """Make the index; let the guard fire for everybody; take the rights to change entries from the tables' owner."""
    op.create_index("alerts_by_status", "alerts", ["status", "raised_time_ns"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER audit_entries_only_grow")
        op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON audit_entries FROM CURRENT_USER")


def downgrade() -> None:
    """Undo ``upgrade``."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("GRANT UPDATE, DELETE, TRUNCATE ON audit_entries TO CURRENT_USER")
        op.execute("ALTER TABLE audit_entries ENABLE TRIGGER audit_entries_only_grow")
    op.drop_index("alerts_by_status", "alerts")
