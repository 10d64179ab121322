"""`relay step add | seen`: a further step in a workspace, and turns that a person has seen."""

import sys
from typing import Annotated, Any

import typer

from relay_cli import completion, output
from relay_cli.client import connect
from relay_cli.commands.ids import ExecutionId, WorkspaceId
from relay_cli.commands.run_notes import Label, Metadata, Title, notes
from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_cli.rendering.names import short
from relay_core.console.output import note

step = typer.Typer(no_args_is_help=True, help="Further steps in a workspace.")


@step.command("add")
def add(
    workspace: WorkspaceId,
    script: Annotated[
        str | None, typer.Option(help="Script to run in the container; - reads it from standard input.")
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(metavar="PROMPT", help="Prompt of an agent that begins a new conversation; - reads it."),
    ] = None,
    cleanup: Annotated[bool, typer.Option("--cleanup", help="Run the repository's cleanup script again.")] = False,
    root: Annotated[bool, typer.Option("--root", help="Run the script as root in the container.")] = False,
    repo: Annotated[
        str | None, typer.Option(help="Repository, by its name in the workspace; needed if it has several.")
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help="Agent of --agent; without it that of the latest session.", autocompletion=completion.executors
        ),
    ] = None,
    variant: Annotated[str | None, typer.Option(help="Variant (profile) of --executor.")] = None,
    model: Annotated[str | None, typer.Option(help="Model of --executor.")] = None,
    title: Title = None,
    label: Label = None,
    metadata: Metadata = None,
    as_json: Json = False,
) -> None:
    """Add a step to a workspace: a script, or an agent with a new conversation. It waits for the steps before it.

    To go on with a conversation, use `relay follow-up`.

    Example: relay step add 3f2a91bc --script 'make test'

    Example: relay step add 3f2a91bc --executor codex --agent 'review the changes'
    """
    if sum((script is not None, agent is not None, cleanup)) != 1:
        raise CommandFailed("give one of --script, --agent and --cleanup", 2)
    if root and script is None:
        raise CommandFailed("--root needs --script", 2)
    if agent is None and (executor or variant or model):
        raise CommandFailed("--executor, --variant and --model need --agent", 2)
    if executor is None and (variant or model):
        raise CommandFailed("--variant and --model need --executor", 2)
    body: dict[str, Any] = {"repo": repo, **notes(title, label, metadata)}
    if agent is not None:
        chosen = {"name": executor, "variant": variant, "model": model}
        named = {name: value for name, value in chosen.items() if value is not None}
        body |= {"run_reason": "coding_agent", "prompt": _text(agent), "executor": named or None}
    elif script is not None:
        body |= {"run_reason": "setup_script", "script": _text(script), "as_root": root}
    else:
        body |= {"run_reason": "cleanup_script"}
    sent = {name: value for name, value in body.items() if value not in (None, False)}
    added = connect().call("POST", f"/v1/workspaces/{workspace}/executions", json=sent)
    if as_json:
        output.show(added, as_json=True)
    else:
        note(f"step {short(added['id'])} is {added['status']}; follow it with: relay logs -f {short(added['id'])}")


@step.command("seen")
def seen(
    execution: ExecutionId,
    undo: Annotated[bool, typer.Option("--undo", help="Say that no person has looked at it.")] = False,
    as_json: Json = False,
) -> None:
    """Say that a person has looked at the turn of an agent.

    Example: relay step seen 3f2a91bc
    """
    changed = connect().call("PATCH", f"/v1/executions/{execution}/turn", json={"seen": not undo})
    if as_json:
        output.show(changed, as_json=True)
    else:
        note(f"turn {short(changed['id'])} is {'seen' if changed['turn']['seen'] else 'not seen'}")


def _text(given: str) -> str:
    return sys.stdin.read() if given == "-" else given
