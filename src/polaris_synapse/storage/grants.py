"""What the desk's own user may do in PostgreSQL, where somebody else owns the tables.

It reads everything, adds to every table, changes rows of the tables whose rows change, and deletes nothing but old
calls of language models, what they cost, and revoked log-ins. Tables that only grow it cannot change at all, whatever
a programming mistake or an intruder tries as that user.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from polaris_synapse.storage import schema


def grant_application_rights(connection: Connection, metadata: sa.MetaData, user: str) -> None:
    """Give a user its rights on the tables; again changes nothing. The connection is the owner's."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    role = quote(user)
    connection.execute(sa.text(f"GRANT USAGE ON SCHEMA public TO {role}"))
    connection.execute(sa.text(f"GRANT SELECT ON alembic_version TO {role}"))
    for table in metadata.sorted_tables:
        name = quote(table.name)
        connection.execute(sa.text(f"REVOKE ALL ON {name} FROM {role}"))
        rights = "SELECT, INSERT" if table in schema.APPEND_ONLY else "SELECT, INSERT, UPDATE"
        if table in schema.PRUNED:
            rights += ", DELETE"
        connection.execute(sa.text(f"GRANT {rights} ON {name} TO {role}"))
