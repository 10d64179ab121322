"""Asks Postgres whether a wait for an answer of the API can be over: that costs a twentieth of asking the API."""

from typing import Any

import psycopg2
from sqlalchemy import Engine

TASK_IN_REVIEW = "SELECT status = 'inreview' FROM tasks WHERE id = %(task_id)s"
STEP = (
    "SELECT EXISTS (SELECT FROM execution_processes WHERE workspace_id = %(workspace_id)s "
    "AND run_reason = %(reason)s AND status = ANY(%(status)s))"
)
STEP_OR_ALL_ENDED = (
    f"SELECT ({STEP}) OR NOT EXISTS (SELECT FROM execution_processes WHERE workspace_id = %(workspace_id)s "
    "AND status NOT IN ('completed', 'failed', 'killed'))"
)
ENDED = "SELECT status IN ('completed', 'failed', 'killed') FROM execution_processes WHERE id = %(execution_id)s"
STATE = "SELECT state = %(state)s FROM workspaces WHERE id = %(workspace_id)s"
LOG_SIZE = "SELECT bytes >= %(size)s FROM log_streams WHERE execution_id = %(execution_id)s AND stream = 'all'"


class Rows:
    """Asks over a connection of its own; any thread may ask.

    Args:
        engine: says where Postgres is.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None

    def deny(self, statement: str, **values: Any) -> bool:
        """Whether Postgres says that what the statement asks for is not so; False if Postgres does not answer."""
        try:
            if self._connection is None:
                words, options = self._engine.dialect.create_connect_args(self._engine.url)
                self._connection = psycopg2.connect(*words, **options)
                self._connection.autocommit = True
            with self._connection.cursor() as cursor:
                cursor.execute(statement, values)
                row = cursor.fetchone()
        except psycopg2.Error:
            self.close()
            return False
        return row is None or not row[0]

    def close(self) -> None:
        """The next question opens a new connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
