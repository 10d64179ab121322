"""`relay db upgrade`: the schema of the database."""

import json

import typer

from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.settings import get_settings
from relay_core.store.schema.migrate import upgrade

db = typer.Typer(help="Schema of the database.", no_args_is_help=True)


@db.command("upgrade")
def db_upgrade(as_json: Json = False) -> None:
    """Upgrade the database of RELAY_DATABASE_URL to this version's schema."""
    revision = upgrade(get_settings().database_url)
    if as_json:
        print(json.dumps({"revision": revision}))
    else:
        note(f"the schema is at {revision}")
