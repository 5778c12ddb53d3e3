"""Sessions that the instances of the agents' service share: a preview of one can be confirmed at another."""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from polaris_synapse.agents.conversation.sessions import Remembered
from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database, DatabaseUnavailableError

_TABLE: Final = schema.conversations
_log = structlog.get_logger(__name__)


class SessionTable:
    """SessionStore in SQL. Of one actor the newest ``sessions_of_one_max`` are kept."""

    def __init__(self, database: Database, *, sessions_of_one_max: int) -> None:
        self._database = database
        self._sessions_of_one_max = sessions_of_one_max

    async def load(self, actor: str, session_id: str, /, *, since_ns: int) -> Remembered | None:
        """See SessionStore."""
        query = sa.select(_TABLE.c.body).where(
            _TABLE.c.actor == actor, _TABLE.c.session == session_id, _TABLE.c.time_ns >= since_ns
        )
        try:
            body = await self._database.read(lambda connection: connection.execute(query).scalar())
            return msgspec.json.decode(body, type=Remembered) if body is not None else None
        except (DatabaseUnavailableError, msgspec.MsgspecError) as error:
            _log.warning("conversation_not_recalled", error=type(error).__name__)
            return None

    async def save(self, actor: str, session_id: str, state: Remembered, /, *, now_ns: int, since_ns: int) -> None:
        """See SessionStore. What cannot be saved is logged: here it goes on, elsewhere it begins anew."""
        row = {
            "actor": actor,
            "session": session_id,
            "time_ns": now_ns,
            "body": msgspec.json.encode(state).decode(),
        }
        newest = (
            sa.select(_TABLE.c.session)
            .where(_TABLE.c.actor == actor)
            .order_by(_TABLE.c.time_ns.desc(), _TABLE.c.session)
            .limit(self._sessions_of_one_max)
        )

        def saved(connection: Connection) -> None:
            connection.execute(schema.upsert(_TABLE, connection.dialect.name), [row])
            connection.execute(_TABLE.delete().where(_TABLE.c.time_ns < since_ns))
            connection.execute(_TABLE.delete().where(_TABLE.c.actor == actor, _TABLE.c.session.not_in(newest)))

        try:
            await self._database.write(saved)
        except DatabaseUnavailableError as error:
            _log.warning("conversation_not_kept", error=str(error))
