"""The first tables of the database of compliance."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "compliance_0001"
down_revision = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False)


def _flag(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.SmallInteger, nullable=False)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "account_standings",
        _text("account"),
        _text("account_kind"),
        _text("kyc"),
        _flag("sanctions_hold"),
        _flag("blocked"),
        _number("version"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("account"),
    )
    op.create_table(
        "alerts",
        _text("alert_id"),
        _text("account"),
        _text("rule"),
        _text("severity"),
        _text("status"),
        _text("symbol"),
        _number("raised_time_ns"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("alert_id"),
    )
    op.create_index("alerts_by_account", "alerts", ["account", "raised_time_ns"])
    op.create_index("alerts_by_time", "alerts", ["raised_time_ns"])
    op.create_table(
        "audit_entries",
        _number("sequence"),
        _number("time_ns"),
        _text("actor"),
        _text("action"),
        _text("subject"),
        _text("detail"),
        _text("previous_hash"),
        _text("entry_hash"),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.create_table(
        "projector_progress",
        _text("name"),
        _number("journal_offset"),
        _number("fact_offset"),
        sa.PrimaryKeyConstraint("name"),
    )
    _forbid_changes()


def _forbid_changes() -> None:
    """The audit log only grows: the database itself refuses to change or delete an entry."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_entries_only_grow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'audit entries are never changed or deleted'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_entries_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_only_grow()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_entries_no_{change.lower()} BEFORE {change} ON audit_entries "
            "BEGIN SELECT RAISE(ABORT, 'audit entries are never changed or deleted'); END"
        )


def downgrade() -> None:
    """Remove the tables and all that is in them."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER audit_entries_only_grow ON audit_entries")
        op.execute("DROP FUNCTION audit_entries_only_grow()")
    op.drop_table("projector_progress")
    op.drop_table("audit_entries")
    op.drop_table("alerts")
    op.drop_table("account_standings")
