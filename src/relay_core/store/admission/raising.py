"""The seconds of waiting that raise a run by one level, as each connection of a `Database` carries them.

So the admission and the views that say why a run waits decide by the same setting.
"""

from sqlalchemy import Connection

from relay_core.domain.admission import RAISE_SECONDS

OPTION = "relay_raise_seconds"
"""Name of the execution option with `RELAY_PRIORITY_RAISE_SECONDS`."""


def raise_seconds(connection: Connection) -> float:
    """Return the setting of the `Database` that opened a connection; the default for a connection that none opened."""
    return float(connection.get_execution_options().get(OPTION, RAISE_SECONDS))
