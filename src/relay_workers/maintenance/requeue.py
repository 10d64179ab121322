"""Admits waiting runs for which there is a place, and sends messages again that seem to be lost."""

from relay_core.queue.dispatcher import Dispatcher
from relay_core.store.admission import admit
from relay_core.store.advisory_lock import try_sweep_lock
from relay_core.store.executions import messages
from relay_core.store.transaction import Database
from relay_workers.metrics import Metrics

SEND_AGAIN_SECONDS = 15.0
"""Age of a message at which it may be lost. An extra message does no harm: the claim ignores it."""


def sweep(database: Database, dispatcher: Dispatcher, metrics: Metrics) -> None:
    """Admit waiting runs, and send messages older than `SEND_AGAIN_SECONDS` again.

    One worker at a time does this, for all nodes.
    """
    with database.begin() as connection:
        admitted = admit.sweep(connection) if try_sweep_lock(connection, "admission") else []
    dispatcher.dispatch(admitted)
    with database.begin() as connection:
        mine = try_sweep_lock(connection, "messages")
        due = messages.undispatched(connection, SEND_AGAIN_SECONDS) if mine else []
    if due:
        metrics.swept("rung_again", dispatcher.dispatch_again(due))
