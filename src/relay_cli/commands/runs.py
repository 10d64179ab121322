"""`relay run | ps | show | logs | kill | diff`: jobs."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

import typer

from relay_cli import output
from relay_cli.client import Api, connect
from relay_cli.conversation import ConversationWriter
from relay_cli.errors import CommandFailed
from relay_cli.follow import (
    Shown,
    exit_code,
    follow_chain,
    follow_conversation,
    follow_log,
    has_conversation,
)
from relay_cli.output import Json
from relay_core.console.output import LogWriter, log_writers, note

ExecutionId = Annotated[UUID, typer.Argument(help="Id of an execution.", show_default=False)]


def run(
    prompt: Annotated[str, typer.Argument(help="What to do; - reads it from standard input.")],
    repo: Annotated[list[str], typer.Option(help="URL or path of a repository; may be given again.")],
    executor: Annotated[
        str | None,
        typer.Option(help="The agent: claude-code (default), others of `relay agents list`, or shell with --command."),
    ] = None,
    command: Annotated[str | None, typer.Option(help="Command line of the executor `shell`.")] = None,
    variant: Annotated[str | None, typer.Option(help="Profile of the agent: `relay agents list`.")] = None,
    model: Annotated[str | None, typer.Option(help="Model, as the agent spells it.")] = None,
    reasoning_effort: Annotated[str | None, typer.Option(help="Where the agent has it.")] = None,
    permission_mode: Annotated[str | None, typer.Option(help="auto, or plan where the agent has it.")] = None,
    branch: Annotated[str | None, typer.Option(help="Target branch; the remote's default.")] = None,
    setup: Annotated[str | None, typer.Option(help="Setup script.")] = None,
    setup_as_root: Annotated[
        bool, typer.Option("--setup-as-root", help="Run the setup script as root in the container.")
    ] = False,
    cleanup: Annotated[str | None, typer.Option(help="Cleanup script.")] = None,
    dev_server: Annotated[str | None, typer.Option(help="Dev server script, started by request.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image.")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE, or NAME to pass on the one of this environment; masked where it looks like a secret. "
            "May be given again."
        ),
    ] = None,
    env_secret: Annotated[list[str] | None, typer.Option(help="NAME=VALUE or NAME that is masked in any case.")] = None,
    env_plain: Annotated[list[str] | None, typer.Option(help="NAME=VALUE or NAME that is never masked.")] = None,
    secret: Annotated[
        list[str] | None, typer.Option(help="NAME of a secret of the project, or NAME=VARIABLE; may be given again.")
    ] = None,
    secret_in: Annotated[
        list[str] | None, typer.Option(help="Step that gets the secrets; may be given again. Else: coding_agent.")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="NAME=NUMBER, e.g. timeout_seconds=10m or memory_bytes=4g.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the task.")] = None,
    project: Annotated[UUID | None, typer.Option(help="Project to run in.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--detach", help="Follow it, exit with its code (125: the API is away).")
    ] = True,
    as_json: Json = False,
) -> None:
    """Run a job on a repository: clone, setup, agent, cleanup, each in the workspace's container.

    Example: relay run --repo . "fix the failing test"

    Example: relay run --repo https://example.org/a.git --command 'make test' "run the tests"
    """
    if setup_as_root and setup is None:
        raise CommandFailed("--setup-as-root says how --setup runs; give --setup, too", 2)
    scripts = {
        "setup_as_root": setup_as_root or None,
        "setup_script": setup,
        "cleanup_script": cleanup,
        "dev_server_script": dev_server,
    }
    repos = [_given({"url": remote(one), "target_branch": branch, **scripts}) for one in repo]
    chosen = {
        "name": executor or ("shell" if command else "claude-code"),
        "command": command,
        "variant": variant,
        "model": model,
        "reasoning_effort": reasoning_effort,
        "permission_mode": permission_mode,
    }
    body = {
        "repos": repos,
        "prompt": sys.stdin.read() if prompt == "-" else prompt,
        "executor": _given(chosen),
        "image": image,
        "env": environment(env or [], env_secret or [], env_plain or []),
        "secrets": secret_names(secret or []),
        "secrets_in": secret_in or None,
        "limits": {name: quantity(name, value) for name, value in pairs(limit or [], "--limit").items()},
        "title": title,
        "project_id": str(project) if project else None,
    }
    api = connect()
    made = api.call("POST", "/v1/runs", json=_given(body))
    if not wait:
        output.show(made, as_json=as_json)
        return
    note(f"workspace {made['workspace_id']}")
    if made["masked_env"]:
        note(f"masked in logs and diffs: {', '.join(made['masked_env'])}")
    ended = _followed(api, made["workspace_id"])
    if as_json:
        output.show(ended, as_json=True)
    raise typer.Exit(exit_code(ended))


def ps(
    status: Annotated[str | None, typer.Option(help="queued, running, completed, failed or killed.")] = None,
    workspace: Annotated[UUID | None, typer.Option(help="Of one workspace.")] = None,
    limit: Annotated[int, typer.Option(help="Most rows.", min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """List executions, newest first.

    Example: relay ps --status running
    """
    path = f"/v1/workspaces/{workspace}/executions" if workspace else "/v1/executions"
    items = connect().items(path, limit, status=status)
    columns = ("id", "run_reason", "status", "reason", "exit_code", "started_at", "workspace_id")
    output.show_list(items, columns, as_json=as_json)


def show(execution: ExecutionId, as_json: Json = False) -> None:
    """Show one execution: status, reason, git state before and after, log sizes."""
    output.show(connect().call("GET", f"/v1/executions/{execution}"), as_json=as_json)


def logs(
    execution: ExecutionId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    stream: Annotated[str | None, typer.Option(help="Bytes of stdout, stderr or all.")] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="The bytes, also of an agent; on a terminal without control sequences.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Sizes and sha256 of its streams, for programs.")] = False,
) -> None:
    """Print the log of an execution; that of a coding agent as a conversation, unless --raw or --stream is given.

    Example: relay logs -f 0b8f8f4e-…
    """
    api = connect()
    found = api.call("GET", f"/v1/executions/{execution}")
    writers = log_writers()
    if as_json:
        output.show(found["logs"], as_json=True)
    elif has_conversation(found) and not raw and stream is None:
        if follow:
            follow_conversation(api, str(execution), writers["stdout"])
        else:
            _conversation(api, execution, writers["stdout"])
    elif follow:
        follow_log(api, str(execution), writers, stream or "all")
    else:
        for piece in api.raw(f"/v1/executions/{execution}/logs", params={"stream": stream or "all"}):
            writers["stdout"].write(piece)


def _conversation(api: Api, execution: UUID, writer: LogWriter) -> None:
    shown = ConversationWriter(writer)
    for entry in api.pages(f"/v1/executions/{execution}/conversation"):
        shown.show(entry)
    shown.end()


def kill(execution: ExecutionId, as_json: Json = False) -> None:
    """End an execution and every process of it; again does nothing."""
    killed = connect().call("POST", f"/v1/executions/{execution}/kill")
    if as_json:
        output.show(killed, as_json=True)
    else:
        note(f"asked; the execution is {killed['status']}")


def diff(
    workspace: Annotated[UUID, typer.Argument(help="Id of a workspace, or of an execution with --execution.")],
    execution: Annotated[bool, typer.Option("--execution", help="What one execution changed.")] = False,
    repo: Annotated[str | None, typer.Option(help="Only this repository, by its name in the workspace.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Counts per repository, for programs.")] = False,
) -> None:
    """Print what a workspace (or one execution) changed, also when its container is gone; `git apply` takes it.

    Example: relay diff 0b8f8f4e-… --repo app | git apply
    """
    path = f"/v1/{'executions' if execution else 'workspaces'}/{workspace}/diff"
    api = connect()
    params = {} if repo is None else {"repo": repo}
    told = api.call("GET", path, params=params)
    if as_json:
        output.show(told, as_json=True)
        return
    for line in diff_notes(told["items"]):
        note(line)
    writer = log_writers()["stdout"]
    for piece in api.raw(path, params=params, headers={"Accept": "text/x-diff"}):
        writer.write(piece)


def diff_notes(repos: list[dict[str, Any]]) -> Iterator[str]:
    """What a reader of the patch alone would not know."""
    if len(repos) > 1:
        names = ", ".join(one["name"] for one in repos)
        yield f"the patches of {names} follow one another; --repo NAME prints one that `git apply` takes"
    for one in repos:
        if one["masked"]:
            yield (
                f"{one['name']}: secrets are masked in the patch of {', '.join(one['masked'])}: "
                "it does not make these files what they are in the workspace"
            )
        if (one["stat"] or {}).get("truncated"):
            yield f"{one['name']}: the patch was too long and is cut, so it does not apply"
        for omitted in one["omitted"]:
            yield f"{one['name']}: {omitted['path']}: {omitted['why']}"


def remote(given: str) -> str:
    """A path becomes a file:// URL; other URLs (scp-like ones too) are left to the API to judge.

    Raises:
        CommandFailed: it looks like a path, and nothing is there.
    """
    if "://" in given:
        return given
    path = Path(given).expanduser()
    if path.exists():
        return f"file://{_quoted(path.resolve())}"
    if ":" not in given or given.startswith(("/", ".", "~")):
        raise CommandFailed(f"there is no directory {given}; --repo takes a path or a URL", 2)
    return given


def _quoted(path: Path) -> str:
    try:
        return quote(str(path))
    except UnicodeEncodeError:
        raise CommandFailed(f"the path {str(path)!r} is not UTF-8; the API takes no such path", 2) from None


def pairs(given: list[str], option: str) -> dict[str, str]:
    """NAME=VALUE words.

    Raises:
        CommandFailed: a word without a name or without ``=``.
    """
    found = {}
    for word in given:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise CommandFailed(f"{option} takes NAME=VALUE; got {word!r}", 2)
        found[name] = value
    return found


def variables(given: list[str], option: str) -> dict[str, Any]:
    """NAME=VALUE words, or NAME alone for the value in this command's own environment: not seen in lists of processes.

    Raises:
        CommandFailed: a word without a name, or a variable that is not set here.
    """
    missing = [word for word in given if "=" not in word and word not in os.environ]
    if missing:
        why = f"{', '.join(missing)} is not set in this environment"
        raise CommandFailed(f"{option} takes NAME=VALUE, or NAME with the value that it has here; {why}", 2)
    return pairs([word if "=" in word else f"{word}={os.environ[word]}" for word in given], option)


def environment(env: list[str], secret: list[str], plain: list[str]) -> dict[str, Any]:
    """The values of a run's `env` as the API has them; whether those of --env are secret is the API's to judge.

    Raises:
        CommandFailed: a word without a name, one that is not in this environment, or one that two options give.
    """
    found: dict[str, Any] = variables(env, "--env")
    for given, option, is_secret in ((secret, "--env-secret", True), (plain, "--env-plain", False)):
        for name, value in variables(given, option).items():
            if name in found:
                raise CommandFailed(f"{name} is given twice; use one of --env, --env-secret and --env-plain", 2)
            found[name] = {"value": value, "secret": is_secret}
    return found


def secret_names(given: list[str]) -> dict[str, str]:
    """NAME or NAME=VARIABLE words as the API has them: by variable.

    Raises:
        CommandFailed: a variable is given twice.
    """
    found: dict[str, str] = {}
    for word in given:
        name, _, variable = word.partition("=")
        if (variable or name) in found:
            raise CommandFailed(f"--secret gives {variable or name} twice", 2)
        found[variable or name] = name
    return found


_UNITS = {
    "bytes": {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40},
    "seconds": {"s": 1, "m": 60, "h": 3600, "d": 86400},
}


def quantity(name: str, text: str) -> float:
    """The number of a limit: 2g or 512MiB of one in bytes, 10m or 1.5h of one in seconds; a whole number stays one.

    Raises:
        CommandFailed: it is no number, or its unit is not one of this limit.
    """
    units = _UNITS.get(name.rpartition("_")[2], {})
    digits = text.strip().lower().rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text.strip().lower()[len(digits) :]
    short = unit[:1] if name.endswith("_bytes") and unit in {unit[:1], f"{unit[:1]}b", f"{unit[:1]}ib"} else unit
    try:
        value = int(digits) if digits.lstrip("-").isdecimal() else float(digits)
        value *= units[short] if unit else 1
        return int(value) if value == int(value) else value
    except (ValueError, KeyError, OverflowError):
        known = f" (it may have a unit: {', '.join(units)})" if units else ""
        raise CommandFailed(f"--limit takes NAME=NUMBER; {text!r} is no number for {name}{known}", 2) from None


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, {})}


def _followed(api: Api, workspace_id: str) -> dict[str, Any]:
    """Follow to the end; Ctrl-C asks what to do with the run."""
    shown: Shown = {}
    while True:
        try:
            return follow_chain(api, workspace_id, log_writers(), shown)
        except KeyboardInterrupt:
            _interrupted(api, workspace_id)


def _interrupted(api: Api, workspace_id: str) -> None:
    """Returns to go on following (after a kill: to see the end); leaves the run alone by `typer.Exit`."""
    answer = "d"
    if sys.stdin.isatty():
        try:
            answer = typer.prompt(
                "\nThe run goes on. [k]ill it, [d]etach, or [c]ontinue watching?", default="d", err=True
            )
        except (KeyboardInterrupt, typer.Abort):
            typer.echo(err=True)  # the question's line has no end yet
            answer = "d"
    if answer.startswith("c"):
        return
    if answer.startswith("k"):
        for status in ("running", "queued"):
            for one in list(api.items("/v1/executions", status=status, workspace_id=workspace_id)):
                api.call("POST", f"/v1/executions/{one['id']}/kill")
        return
    note(f"detached; see it with: relay ps --workspace {workspace_id}")
    raise typer.Exit(128 + signal.SIGINT)
