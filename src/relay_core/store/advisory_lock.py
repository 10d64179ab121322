"""Advisory locks of Postgres: they let one worker at a time do work that any worker may do for all nodes."""

from sqlalchemy import Connection, text


def try_sweep_lock(connection: Connection, sweep: str) -> bool:
    """Take the lock of a sweep until the end of this transaction, if no other worker holds it. Does not wait.

    A sweep is periodic work such as the presence sweep.

    Args:
        connection: a transaction.
        sweep: name of the sweep.

    Returns:
        True if the lock was free and is held now.
    """
    lock = text("SELECT pg_try_advisory_xact_lock(hashtext(:name))")
    return bool(connection.scalar(lock, {"name": f"relay.sweep.{sweep}"}))
