"""`relay doctor`: what is wrong, and what to do about it."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from relay_cli.output import Json, note, show_list
from relay_core.logging_setup import configure_logging
from relay_stack.local_settings import settings_of_this_machine


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Do at once what the sweeps of this node would do.")] = False,
    as_json: Json = False,
) -> None:
    """Check services, this node and the work on it; show what each sweep would do and why.

    Run it on a node, with the environment of its worker; of the local stack it finds that itself. The exit code is 1
    when something is in error.

    Example: relay doctor --fix
    """
    from relay_workers.diagnostics import doctor as examination  # noqa: PLC0415 - the container engine's library takes its time

    configure_logging("ERROR")
    settings = settings_of_this_machine()
    done = examination.fix(settings) if fix else []
    checks = [asdict(check) for check in examination.examine(settings)]
    if as_json:
        print(json.dumps({"fixed": done, "checks": checks}, indent=2))
    else:
        for line in done:
            note(line)
        show_list(checks, ("level", "check", "message", "what_to_do"), as_json=False)
    raise typer.Exit(1 if any(check["level"] == "error" for check in checks) else 0)
