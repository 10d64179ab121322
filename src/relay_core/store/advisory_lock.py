"""Advisory locks of Postgres, by which one worker at a time does what any worker may do for all."""

from sqlalchemy import Connection, text


def try_sweep_lock(connection: Connection, sweep: str) -> bool:
    """Take the lock of a sweep until the end of this transaction.

    Args:
        connection: a transaction.
        sweep: name of the sweep.

    Returns:
        Whether the lock was free; does not wait.
    """
    lock = text("SELECT pg_try_advisory_xact_lock(hashtext(:name))")
    return bool(connection.scalar(lock, {"name": f"relay.sweep.{sweep}"}))
