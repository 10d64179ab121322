"""``python -m relay_workers``: one worker of this node."""

import sys

from relay_workers.bootstrap import prepare_environment


def main() -> None:
    """Run a worker until it is told to go; a setting or service that is wrong ends it with one clear line."""
    prepare_environment()
    from pydantic import ValidationError  # noqa: PLC0415 - Celery reads REMAP_SIGTERM when it is imported
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    from relay_core.domain.errors import RelayError  # noqa: PLC0415
    from relay_core.open_files import raise_open_files  # noqa: PLC0415
    from relay_core.settings import get_settings, wrong_settings  # noqa: PLC0415
    from relay_core.store.outage import is_away  # noqa: PLC0415
    from relay_workers.bootstrap import make_worker  # noqa: PLC0415

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


if __name__ == "__main__":
    main()
