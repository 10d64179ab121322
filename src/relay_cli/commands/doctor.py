"""`relay doctor`: check this node, and print for each problem what to do."""

import json
import sys
from typing import Annotated

import typer

from relay_cli.output import Json
from relay_cli.rendering.check_lines import check_lines
from relay_cli.rendering.style import style_of
from relay_cli.worker_process import ask_worker
from relay_core.console.output import note
from relay_stack.files.local_settings import settings_of_this_machine


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend at once what the sweeps of this node would mend later.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check the services, this node and its work, and show what the worker's periodic checks would repair.

    Run it on a node, with the environment of the node's worker. For the local stack, it finds that environment itself.

    The exit code is 1 when a check finds an error.

    Example: relay doctor --fix
    """
    settings_of_this_machine()  # adds the variables of the local stack's processes to this environment
    found = ask_worker("doctor", *(["--fix"] if fix else []))
    checks = found["checks"]
    if as_json:
        print(json.dumps({"fixed": found["fixed"], "checks": checks}, indent=2))
    else:
        for line in found["fixed"]:
            note(line)
        print("\n".join(check_lines(checks, style_of(sys.stdout))))
    raise typer.Exit(1 if any(check["level"] == "error" for check in checks) else 0)
