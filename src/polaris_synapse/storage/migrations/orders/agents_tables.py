"""Tables of what agents may do and what waits for a person, and what instances of the agents' service share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "orders_0005"
down_revision = "orders_0004"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False)


def upgrade() -> None:
    """Make the tables."""
    _make_authority()
    _make_agents_shared()


def _make_authority() -> None:
    """What agents may do, and what waits for a person."""
    op.create_table(
        "mandates",
        _text("account"),
        _text("agent"),
        sa.Column("enabled", sa.SmallInteger, nullable=False),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("account", "agent"),
    )
    op.create_table(
        "account_limits", _text("account"), _number("time_ns"), _text("body"), sa.PrimaryKeyConstraint("account")
    )
    op.create_table(
        "holding_limits",
        _text("account"),
        _text("asset"),
        _number("share_ppm_max"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("account", "asset"),
    )
    op.create_table(
        "approvals",
        _text("approval_id"),
        _text("account"),
        _text("agent"),
        _text("client_order_id"),
        _text("state"),
        _number("order_id"),
        _number("created_time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("approval_id"),
    )
    op.create_index("approvals_by_state", "approvals", ["state", "created_time_ns"])
    op.create_index("approvals_by_time", "approvals", ["created_time_ns"])
    op.create_index("approvals_by_client_order_id", "approvals", ["client_order_id", "account"])


def _make_agents_shared() -> None:
    """What instances of the agents' service share."""
    op.create_table(
        "agents",
        _text("agent"),
        _text("account"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("agent"),
    )
    op.create_table(
        "standing_instructions",
        _text("standing_id"),
        _text("account"),
        _text("state"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("standing_id"),
    )
    op.create_index("standing_instructions_by_time", "standing_instructions", ["time_ns"])
    op.create_table(
        "model_records",
        _text("digest"),
        _text("kind"),
        _text("decision_id"),
        _number("time_ns"),
        _number("size_bytes"),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("model_records_by_time", "model_records", ["time_ns"])
    op.create_index("model_records_by_decision", "model_records", ["decision_id"])
    op.create_table(
        "model_spending",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            sa.Identity(),
            primary_key=True,
        ),
        _number("day"),
        _text("purpose"),
        _text("decision_id"),
        sa.Column("settled", sa.SmallInteger, nullable=False),
        _number("tokens"),
        _number("milliseconds"),
        _number("micro_usd"),
    )
    op.create_index("model_spending_by_day", "model_spending", ["day", "purpose"])
    op.create_index("model_spending_by_decision", "model_spending", ["decision_id"])
    op.create_table(
        "conversations",
        _text("actor"),
        _text("session"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("actor", "session"),
    )
    op.create_index("conversations_by_time", "conversations", ["time_ns"])
    op.create_table("source_states", _text("source"), _text("body"), sa.PrimaryKeyConstraint("source"))


def downgrade() -> None:
    """Remove the tables."""
    for table in (
        "source_states",
        "conversations",
        "model_spending",
        "model_records",
        "standing_instructions",
        "agents",
        "approvals",
        "holding_limits",
        "account_limits",
        "mandates",
    ):
        op.drop_table(table)
