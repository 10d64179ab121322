"""`relay task list | show`: units of work, each with its attempts (workspaces)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from relay_cli import completion, output
from relay_cli.client import connect
from relay_cli.commands.ids import id_argument
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.rendering.units import age, local_time, seconds_between, usage_text
from relay_core.console.terminal_text import safe_line

task = typer.Typer(no_args_is_help=True, help="Tasks: units of work. Each workspace is one attempt at a task.")
COLUMNS = ("ID", "TITLE", "STATUS", "ATTEMPTS", "AGE")


@task.command("list")
def list_tasks(
    status: Annotated[
        str | None,
        typer.Option(
            help="Only those with this status: todo, inprogress, inreview, done or cancelled.",
            autocompletion=completion.task_statuses,
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(help="Only those of this project: its name or id.", autocompletion=completion.projects),
    ] = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List tasks, newest first.

    Example: relay task list --status inreview
    """
    found = list(connect().items("/v1/tasks", limit, status=status, project_id=project))
    if as_json:
        output.show_list(found, (), as_json=True)
        return
    now = datetime.now(UTC)
    rows = [_cells(each, now) for each in found]
    print_table(COLUMNS, rows, [each["status"] for each in found])


def _cells(found: Mapping[str, Any], now: datetime) -> list[str]:
    return [
        short(found["id"]),
        safe_line(found["title"]),
        found["status"],
        str(len(found["workspace_ids"])),
        age(seconds_between(found["created_at"], None, now)),
    ]


@task.command("show")
def show_task(
    task_id: Annotated[str, id_argument("Id of a task, or of a run or workspace of it.")], as_json: Json = False
) -> None:
    """Show a task: its status, its attempts, and what its agents used.

    Example: relay task show 3f2a91bc
    """
    found = connect().call("GET", f"/v1/tasks/{task_id}")
    output.show(found if as_json else _fields(found), as_json=as_json)


def _fields(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task": found["id"],
        "title": found["title"],
        "status": found["status"],
        "description": found["description"],
        "attempts": ", ".join(short(each) for each in found["workspace_ids"]),
        "used": usage_text(found["usage"]),
        "created": f"{local_time(found['created_at'])} by {found['created_by']}",
    }
