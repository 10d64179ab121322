"""`relay run`: submits a run and follows it."""

import signal
import sys
from typing import Any

import typer

from relay_cli import output
from relay_cli.client import Api, connect
from relay_cli.commands import run_options as option
from relay_cli.commands import run_request as request
from relay_cli.errors import CommandFailed
from relay_cli.follow import LogPositions, exit_code, follow_chain
from relay_cli.local_changes import started_from_changes
from relay_cli.output import Json
from relay_core.console.output import log_writers, note


def run(
    prompt: option.Prompt,
    repo: option.Repo,
    executor: option.Executor = None,
    command: option.Command = None,
    variant: option.Variant = None,
    model: option.Model = None,
    reasoning_effort: option.ReasoningEffort = None,
    permission_mode: option.PermissionMode = None,
    branch: option.Branch = None,
    ref: option.Ref = None,
    with_changes: option.WithChanges = False,
    setup: option.Setup = None,
    setup_as_root: option.SetupAsRoot = False,
    cleanup: option.Cleanup = None,
    dev_server: option.DevServer = None,
    image: option.Image = None,
    env: option.Env = None,
    env_secret: option.EnvSecret = None,
    env_plain: option.EnvPlain = None,
    secret: option.Secret = None,
    secret_in: option.SecretIn = None,
    limit: option.Limit = None,
    title: option.Title = None,
    project: option.Project = None,
    wait: option.Wait = True,
    as_json: Json = False,
) -> None:
    """Run a job on a repository: clone, setup script, agent, cleanup script, each in the workspace's container.

    Example: relay run --repo . "fix the failing test"

    Example: relay run --repo https://example.org/a.git --command 'make test' "run the tests"
    """
    scripts = {"setup_script": setup, "cleanup_script": cleanup, "dev_server_script": dev_server}
    agent = {"name": executor or ("shell" if command else "claude-code"), "command": command, "variant": variant}
    model_options = {"model": model, "reasoning_effort": reasoning_effort, "permission_mode": permission_mode}
    repos = _repos(repo, (branch, ref), scripts, as_root=setup_as_root)
    body = {
        "repos": started_from_changes(repos) if with_changes else repos,
        "prompt": sys.stdin.read() if prompt == "-" else prompt,
        "executor": request.set_fields({**agent, **model_options}),
        "image": image,
        "env": request.environment(env or [], env_secret or [], env_plain or []),
        "secrets": request.secret_names(secret or []),
        "secrets_in": secret_in or None,
        "limits": request.limits(limit or []),
        "title": title,
        "project_id": str(project) if project else None,
    }
    api = connect()
    posted = api.call("POST", "/v1/runs", json=request.set_fields(body))
    if not wait:
        output.show(posted, as_json=as_json)
        return
    ended = _followed(api, posted)
    if as_json:
        output.show(ended, as_json=True)
    raise typer.Exit(exit_code(ended))


def _repos(
    repos: list[str], start: tuple[str | None, str | None], scripts: dict[str, str | None], *, as_root: bool
) -> list[dict[str, Any]]:
    if as_root and scripts["setup_script"] is None:
        raise CommandFailed("--setup-as-root says how --setup runs; give --setup, too", 2)
    branch, ref = start
    fields = {"target_branch": branch, "ref": ref, **scripts, "setup_as_root": as_root or None}
    return [request.set_fields({"url": request.remote(repo), **fields}) for repo in repos]


def _followed(api: Api, posted: dict[str, Any]) -> dict[str, Any]:
    """Follow a run to its end and return the execution that decided its outcome.

    On Ctrl-C, ask the person whether to kill the run, detach from it or continue.

    Args:
        api: client of the API.
        posted: the answer to `POST /v1/runs`.
    """
    note(f"workspace {posted['workspace_id']}")
    if posted["masked_env"]:
        note(f"masked in logs and diffs: {', '.join(posted['masked_env'])}")
    positions: LogPositions = {}
    while True:
        try:
            return follow_chain(api, posted["workspace_id"], log_writers(), positions)
        except KeyboardInterrupt:
            _ask_after_interrupt(api, posted["workspace_id"])


def _ask_after_interrupt(api: Api, workspace_id: str) -> None:
    """Ask the person what to do with the run, and kill it if they say so. Return if the command must keep following.

    The command also follows a killed run to its end. Without a terminal, the command detaches.

    Raises:
        typer.Exit: the person chose to detach: the command exits and the run continues.
    """
    answer = "d"
    if sys.stdin.isatty():
        try:
            answer = typer.prompt(
                "\nThe run goes on. [k]ill it, [d]etach, or [c]ontinue watching?", default="d", err=True
            )
        except (KeyboardInterrupt, typer.Abort):
            typer.echo(err=True)  # ends the line of the question
            answer = "d"
    if answer.startswith("c"):
        return
    if answer.startswith("k"):
        for status in ("running", "queued"):
            for execution in list(api.items("/v1/executions", status=status, workspace_id=workspace_id)):
                api.call("POST", f"/v1/executions/{execution['id']}/kill")
        return
    note(f"detached; see it with: relay ps --workspace {workspace_id}")
    raise typer.Exit(128 + signal.SIGINT)
