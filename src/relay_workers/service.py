"""Run one worker of this node, from its settings to its exit code."""

import sys

from pydantic import ValidationError

from relay_core.domain.errors import RelayError
from relay_core.open_files import raise_open_files
from relay_core.settings import get_settings, wrong_settings
from relay_core.store.outage import DBAPIError, is_away
from relay_workers.bootstrap import make_worker, prepare_environment


def main() -> None:
    """Run a worker until a signal stops it.

    A wrong setting or a failing service exits with one line on standard error.
    """
    prepare_environment()
    raise_open_files()
    try:
        worker = make_worker(get_settings())
    except ValidationError as error:
        sys.exit(f"relay worker: {wrong_settings(error)}")
    except DBAPIError as error:
        if not is_away(error):
            raise
        sys.exit(f"relay worker: the database does not answer: {str(error.orig).strip()}")
    except (RelayError, OSError) as error:
        sys.exit(f"relay worker: {error}")
    sys.exit(worker.run())
