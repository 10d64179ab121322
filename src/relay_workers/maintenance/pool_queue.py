"""Opens or closes the pool's queue for this worker, depending on whether its node has free capacity."""

from relay_core.queue.dispatcher import Dispatcher
from relay_core.store.executions import messages
from relay_core.store.nodes import placement
from relay_core.store.transaction import Database
from relay_workers.ownership.admission import Admission


def sweep(node_id: str, database: Database, queues: Admission, dispatcher: Dispatcher) -> None:
    """Open or close the pool's queue, and send the messages of refused steps again.

    The queue is open while the node has free capacity and enough free disk space.
    """
    with database.begin() as connection:
        full = placement.why_closed(connection, node_id)
    if due := queues.follow(full or queues.why_disk_full()):
        with database.begin() as connection:
            messages.mark_published(connection, [message.execution_id for message in due])
        dispatcher.dispatch(due)
