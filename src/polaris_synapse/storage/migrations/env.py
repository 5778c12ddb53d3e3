"""Run by alembic: applies the migrations on the connection that storage.migrate hands over."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=context.config.attributes["metadata"],
    # SQLite cannot alter a column in place; batch mode makes the table anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
