"""Open or close the pool's queue for this worker, as its node has room or not."""

from relay_core.queue.dispatcher import Dispatcher
from relay_core.settings import Settings
from relay_core.store.nodes import placement
from relay_core.store.transaction import Database
from relay_workers.ownership.admission import Admission, why_disk_full


def sweep(settings: Settings, node_id: str, database: Database, queues: Admission, dispatcher: Dispatcher) -> None:
    """Look at the node's promised room and free disk space, open or close the queue, and send refused steps again."""
    with database.begin() as connection:
        full = placement.why_closed(connection, node_id)
    dispatcher.dispatch(queues.follow(full or why_disk_full(settings)))
