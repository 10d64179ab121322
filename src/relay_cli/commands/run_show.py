"""`relay show`: shows a run with its steps, or one step."""

import sys
from datetime import UTC, datetime

from relay_cli import output
from relay_cli.client import connect
from relay_cli.commands.ids import AnyId
from relay_cli.follow import steps_of
from relay_cli.output import Json
from relay_cli.rendering import execution_page, run_page
from relay_cli.rendering.style import style_of


def show(identity: AnyId, as_json: Json = False) -> None:
    """Show a run: what it is, its steps with their times, how it ended and what to do; or one step, by its id.

    Example: relay show 3f2a91bc
    """
    api = connect()
    style, now = style_of(sys.stdout), datetime.now(UTC)
    execution = api.find(f"/v1/executions/{identity}")
    if execution is not None and execution["id"].startswith(identity):
        if as_json:
            output.show(execution, as_json=True)
        else:
            print("\n".join(execution_page.page(execution, now, style)))
        return
    run = api.call("GET", f"/v1/runs/{identity}")
    if as_json:
        output.show(run, as_json=True)
        return
    steps = steps_of(api, run)
    print("\n".join(run_page.page(run, steps, now, style, api.url)))
