"""Listens for notices of Postgres that tell this worker to renew its lease at once, instead of at the next interval."""

import threading
from collections.abc import Callable

import structlog

from relay_core.store.executions import notices
from relay_core.store.outage import is_away
from relay_core.store.transaction import Database

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 5.0
"""Pause before the next try to listen after the connection was lost; meanwhile the regular renewals tell everything."""


class LeaseNotices:
    """The thread of a worker that listens, on a connection of its own.

    Args:
        database: the database that sends the notices.
        owner: this worker.
        renew_soon: makes the clock of renewals call now; must return at once.
    """

    def __init__(self, database: Database, owner: str, renew_soon: Callable[[], None]) -> None:
        self._database = database
        self._owner = owner
        self._renew_soon = renew_soon

    def start(self) -> None:
        """Start the thread, which ends with the process."""
        threading.Thread(target=self._work, name="notices", daemon=True).start()

    def _work(self) -> None:
        away = threading.Event()  # never set: waiting on it is a sleep
        while True:
            try:
                notices.listen(self._database.engine, self._owner, self._renew_soon)
            except Exception as error:  # an error must not stop the thread
                if is_away(error):
                    log.warning("the database is away; notices of kills wait", error=str(error).splitlines()[0])
                else:
                    log.exception("listening for notices broke")
            away.wait(AGAIN_SECONDS)
