"""Turns of the sweeps that one worker does for all nodes: in each period, the first worker that asks gets the turn."""

from sqlalchemy import Connection, text

_TAKE = text(
    """
    INSERT INTO sweep_turns AS t (sweep, taken_at)
    SELECT :sweep, now() WHERE NOT EXISTS (
      SELECT 1 FROM sweep_turns r WHERE r.sweep = :sweep AND r.taken_at > now() - make_interval(secs => :period))
    ON CONFLICT (sweep) DO UPDATE SET taken_at = now() WHERE t.taken_at <= now() - make_interval(secs => :period)
    RETURNING sweep
    """
)


def take_turn(connection: Connection, sweep: str, period_seconds: float) -> bool:
    """Take the turn of a sweep, unless a worker took it less than a period ago; return whether it was taken.

    A turn that is not due costs a look at its row and no lock.

    Args:
        connection: a transaction of its own: other workers that ask wait for its end.
        sweep: name of the sweep.
        period_seconds: time between two turns.
    """
    return connection.execute(_TAKE, {"sweep": sweep, "period": period_seconds}).first() is not None
