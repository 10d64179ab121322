"""`relay task list | show | create | set | start | attempts | rm`: units of work, and the attempts at them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from relay_cli import completion, output
from relay_cli.asking import Yes, make_sure
from relay_cli.changes import Clear, patch
from relay_cli.client import connect
from relay_cli.commands.ids import id_argument
from relay_cli.commands.pictures import attached
from relay_cli.commands.run_options import Attach
from relay_cli.errors import CommandFailed
from relay_cli.listing import print_table
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_cli.rendering.units import age, local_time, plural, seconds_between, usage_text
from relay_core.console.output import note
from relay_core.console.terminal_text import safe_line

task = typer.Typer(no_args_is_help=True, help="Tasks: units of work. Each workspace is one attempt at a task.")
COLUMNS = ("ID", "TITLE", "STATUS", "ATTEMPTS", "AGE")
ATTEMPT_COLUMNS = ("WORKSPACE", "NAME", "AGENT", "STATUS", "RUNS", "TOOK", "CHANGES", "TOKENS", "COST")
TaskId = Annotated[str, typer.Argument(metavar="TASK", help="Id of a task.", show_default=False)]
Agent = Annotated[
    str | None,
    typer.Option("--executor", help="Agent of the attempt.", autocompletion=completion.executors, show_default=False),
]
Command = Annotated[str | None, typer.Option(help="A command line in place of an agent.", show_default=False)]
Prompt = Annotated[
    str | None, typer.Option(help="What the agent is asked for, in place of title and description.", show_default=False)
]
Branch = Annotated[
    list[str] | None,
    typer.Option(metavar="REPO=BRANCH", help="Target branch of a repository. Repeat the option for more of them."),
]
Source = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="WORKSPACE",
        help="Start from the recorded state of this workspace, also of what is not committed there, on its node.",
        show_default=False,
    ),
]
SourceStep = Annotated[
    str | None,
    typer.Option(metavar="EXECUTION", help="Of --from: the execution that left the state.", show_default=False),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start a subtask from the remote, not from its parent workspace's state.")
]
Image = Annotated[
    str | None, typer.Option(help="Image of the container.", autocompletion=completion.images, show_default=False)
]
Parent = Annotated[
    str | None, typer.Option(metavar="WORKSPACE", help="Workspace that this is a subtask of.", show_default=False)
]
Description = Annotated[str | None, typer.Option(help="Text below the title.", show_default=False)]


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
    parent: Annotated[
        str | None, typer.Option(metavar="WORKSPACE", help="Only the subtasks of this workspace.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(help="Number of rows at most.", min=1, max=1000)] = 50,
    as_json: Json = False,
) -> None:
    """List tasks, newest first.

    Example: relay task list --status inreview
    """
    found = list(connect().items("/v1/tasks", limit, status=status, project_id=project, parent_workspace_id=parent))
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
        "subtask of": short(found["parent_workspace_id"]) if found["parent_workspace_id"] else None,
        "attempts": ", ".join(short(each) for each in found["workspace_ids"]),
        "used": usage_text(found["usage"]),
        "created": f"{local_time(found['created_at'])} by {found['created_by']}",
    }


@task.command("create")
def create_task(  # one parameter for each option
    title: Annotated[str, typer.Argument(help="Title of the task.", show_default=False)],
    project: Annotated[
        str, typer.Option(help="Name or id of the project.", autocompletion=completion.projects, show_default=False)
    ],
    description: Description = None,
    parent: Parent = None,
    start: Annotated[bool, typer.Option("--start", help="Start an attempt at once.")] = False,
    agent: Agent = None,
    command: Command = None,
    image: Image = None,
    branch: Branch = None,
    prompt: Prompt = None,
    source: Source = None,
    after: SourceStep = None,
    fresh: Fresh = False,
    attach: Attach = None,
    as_json: Json = False,
) -> None:
    """Create a task, and with --start its first attempt.

    Example: relay task create 'Mend the parser' --project shop --start --executor codex
    """
    wanted = attempt_body(agent, command, image, branch, prompt) | _source(source, after, fresh=fresh)
    if wanted and not start:
        raise CommandFailed("these options are of an attempt; add --start", 2)
    body: dict[str, Any] = {"project_id": project, "title": title, "description": description}
    body["parent_workspace_id"] = parent
    body |= {"start": wanted} if start else {}
    api = connect()
    body |= attached(api, attach)
    made = api.call("POST", "/v1/tasks", json={key: value for key, value in body.items() if value is not None})
    if as_json:
        output.show(made, as_json=True)
        return
    note(f"created task {safe_line(made['title'])} ({short(made['id'])})")
    if made["started"]:
        note(f"attempt {short(made['started']['workspace_id'])}: relay watch {short(made['started']['run_id'])}")


@task.command("set")
def set_task(
    task_id: TaskId,
    title: Annotated[str | None, typer.Option(help="Another title.", show_default=False)] = None,
    description: Description = None,
    status: Annotated[
        str | None, typer.Option(help="todo, done or cancelled; the others follow from the steps.", show_default=False)
    ] = None,
    parent: Parent = None,
    clear: Clear = None,
    as_json: Json = False,
) -> None:
    """Change a task: its texts, its parent, or by hand its status.

    Example: relay task set 3f2a91bc --status done
    """
    given = {"title": title, "description": description, "status": status, "parent_workspace_id": parent}
    body = patch(given, clear, ("description", "parent_workspace_id"))
    changed = connect().call("PATCH", f"/v1/tasks/{task_id}", json=body)
    output.show(changed if as_json else _fields(changed), as_json=as_json)


@task.command("start")
def start_attempt(
    task_id: TaskId,
    agent: Agent = None,
    command: Command = None,
    image: Image = None,
    branch: Branch = None,
    prompt: Prompt = None,
    source: Source = None,
    after: SourceStep = None,
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """Start an attempt at a task, in a workspace and on a branch of its own. With --from it is a fork.

    Example: relay task start 3f2a91bc --executor codex --branch app=next
    """
    body = attempt_body(agent, command, image, branch, prompt) | _source(source, after, fresh=fresh)
    made = connect().call("POST", f"/v1/tasks/{task_id}/workspaces", json=body)
    if as_json:
        output.show(made, as_json=True)
    else:
        note(f"attempt {short(made['workspace_id'])}: relay watch {short(made['run_id'])}")


@task.command("attempts")
def compare(
    task_id: Annotated[str, id_argument("Id of a task, or of a run or workspace of it.")], as_json: Json = False
) -> None:
    """Compare the attempts at a task: how they ended, what they took and what they changed.

    Example: relay task attempts 3f2a91bc
    """
    found = connect().call("GET", f"/v1/tasks/{task_id}/attempts")["items"]
    if as_json:
        output.show_list(found, (), as_json=True)
    else:
        print_table(ATTEMPT_COLUMNS, [_compared(each) for each in found], [each["status"] or "-" for each in found])


def _compared(found: Mapping[str, Any]) -> list[str]:
    stat, usage = found["stat"], found["usage"]
    changes = f"{stat['files']} files +{stat['insertions']} -{stat['deletions']}" if stat else "-"
    tokens = sum(usage.get(name) or 0 for name in ("input_tokens", "output_tokens"))
    cost = usage.get("cost_usd")
    return [
        short(found["workspace_id"]),
        safe_line(found["name"] or "-"),
        safe_line(found["executor"] or "-"),
        safe_line(found["conclusion"] or found["status"] or "-"),
        str(found["runs"]),
        age(found["seconds"]) if found["started_at"] else "-",
        changes,
        f"{tokens:,.0f}" if tokens else "-",
        f"${cost:.2f}" if cost else "-",
    ]


@task.command("rm")
def remove_task(task_id: TaskId, yes: Yes = False, as_json: Json = False) -> None:
    """Delete a task with its workspaces; end what runs in them. Its subtasks stay.

    Example: relay task rm 3f2a91bc
    """
    api = connect()
    found = api.call("GET", f"/v1/tasks/{task_id}")
    attempts = plural(len(found["workspace_ids"]), "workspace")
    make_sure(f"delete task {short(found['id'])} ({safe_line(found['title'])}) with {attempts}", yes=yes)
    deleted = api.call("DELETE", f"/v1/tasks/{found['id']}")
    if as_json:
        output.show(deleted, as_json=True)
    else:
        ended = f"; {plural(deleted['killed'], 'execution')} asked to end" if deleted["killed"] else ""
        note(f"deleted task {short(deleted['id'])}{ended}")


def _source(workspace: str | None, execution: str | None, *, fresh: bool) -> dict[str, Any]:
    """Return the part of the request for an attempt that says which workspace it starts from."""
    if fresh and (workspace or execution):
        raise CommandFailed("give either --from or --fresh", 2)
    if execution is not None and workspace is None:
        raise CommandFailed("--after is an execution of the workspace that --from names; give both", 2)
    if workspace is None:
        return {"from_workspace": None} if fresh else {}
    return {"from_workspace": workspace} | ({} if execution is None else {"from_execution": execution})


def attempt_body(
    agent: str | None, command: str | None, image: str | None, branches: Sequence[str] | None, prompt: str | None
) -> dict[str, Any]:
    """Return the request for an attempt that the options of a command describe."""
    if agent is not None and command is not None:
        raise CommandFailed("give either --executor or --command", 2)
    executor = {"name": "shell", "command": command} if command is not None else agent and {"name": agent}
    repos = []
    for each in branches or []:
        name, equals, branch = each.partition("=")
        if not (name and equals and branch):
            raise CommandFailed(f"--branch {each}: give REPO=BRANCH, for example app=main", 2)
        repos.append({"repo": name, "target_branch": branch})
    body = {"executor": executor, "image": image, "repos": repos or None, "prompt": prompt}
    return {key: value for key, value in body.items() if value is not None}
