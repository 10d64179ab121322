"""Serve the API with uvicorn, from its settings to its exit code."""

import logging
import sys

import structlog
import uvicorn
from pydantic import ValidationError

from relay_api.app import create_app
from relay_api.http.connections import AcceptTrouble, protocol
from relay_core.domain.errors import RelayError
from relay_core.logging_setup import configure_logging
from relay_core.open_files import raise_open_files
from relay_core.settings import Settings, get_settings, wrong_settings
from relay_core.store.database import make_database
from relay_core.store.outage import DBAPIError, is_away
from relay_core.store.schema.revision import check_schema

log = structlog.get_logger(__name__)


def main() -> int:
    """Serve until a signal stops the server; return the exit code.

    If the server cannot start, print one line with the reason and return 1.
    """
    try:
        settings = get_settings()
        _check(settings)
    except ValidationError as error:
        sys.stderr.write(f"relay-api: {wrong_settings(error)}\n")
        return 1
    except RelayError as error:
        sys.stderr.write(f"relay-api: {error}\n")
        return 1
    except DBAPIError as error:
        if not is_away(error):
            raise
        sys.stderr.write(f"relay-api: the database does not answer: {str(error.orig).strip()}\n")
        return 1
    configure_logging(settings.log_level)
    logging.getLogger("asyncio").addFilter(AcceptTrouble())
    most = min(settings.api_max_connections, raise_open_files() * 3 // 4)
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_level=settings.log_level.lower(),
        log_config=None,  # uvicorn's lines get the format of all other lines
        access_log=settings.log_level == "DEBUG",
        server_header=False,
        http=protocol(most),
        # Seconds until open event streams are closed; their clients reconnect.
        timeout_graceful_shutdown=3,
        timeout_keep_alive=30,
    )
    return 0


def _check(settings: Settings) -> None:
    """Check the database schema before uvicorn starts, so that a wrong one is reported in one line, not a traceback."""
    database = make_database(settings, application="relay-api")
    try:
        with database.connect() as connection:
            check_schema(connection)
    finally:
        database.dispose()
