"""The body of `POST /v1/runs`, from the values of the options of `relay run`."""

import sys
from collections.abc import Mapping
from typing import Any

from relay_cli.commands import run_request as request
from relay_cli.commands.run_notes import notes
from relay_cli.errors import CommandFailed
from relay_cli.local_changes import started_from_changes
from relay_core.domain.job_settings import DEFAULT_EXECUTOR

_SCRIPTS = {"setup": "setup_script", "cleanup": "cleanup_script", "dev_server": "dev_server_script"}
_OF_REPO = {"branch": "target_branch", "ref": "ref", "working_dir": "working_dir", **_SCRIPTS}
"""Option → field of each repository."""
_OF_AGENT = ("command", "variant", "model", "reasoning_effort", "permission_mode")


def body_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of the request; commit uncommitted work first if the person wants it to be sent along.

    Args:
        given: value of each option of `relay run`, by the name of its parameter.

    Raises:
        CommandFailed: a value cannot be used.
    """
    env, secret, plain = (given[name] or [] for name in ("env", "env_secret", "env_plain"))
    body = {
        "repos": _repositories(given),
        "prompt": _prompt(given["prompt"], given["command"]),
        "executor": _executor(given),
        "image": given["image"],
        "profile": given["profile"],
        "user": given["user"],
        "env": request.environment(env, secret, plain),
        "secrets": request.secret_names(given["secret"] or []),
        "secrets_in": given["secret_in"] or None,
        "limits": request.limits(given["limit"] or []),
        "priority": given["priority"],
        "needs": given["needs"] or None,
        "auto_commit": False if given["no_auto_commit"] else None,
        "job_file": False if given["no_job_file"] else None,
        **notes(given["title"], given["label"], given["metadata"]),
        "project_id": given["project"],
    }
    return request.set_fields(body)


def _repositories(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    fields = {field: given[option] for option, field in _OF_REPO.items()}
    if given["parallel_setup"] and not given["setup"]:
        raise CommandFailed("--parallel-setup says how --setup runs; give --setup, too", 2)
    fields["parallel_setup_script"] = given["parallel_setup"] or None
    as_root, with_changes = given["setup_as_root"], given["with_changes"]
    repos = request.repositories(given["repo"] or ["."], fields, setup_as_root=as_root, warn=not with_changes)
    return started_from_changes(repos) if with_changes else repos


def _executor(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the executor of the request; empty if no option is about it, so that a job file may choose it."""
    fields = request.set_fields({option: given[option] for option in _OF_AGENT})
    name = given["executor"] or ("shell" if given["command"] else DEFAULT_EXECUTOR if fields else None)
    return fields if name is None else {"name": name, **fields}


def _prompt(prompt: str | None, command: str | None) -> str:
    if prompt == "-":
        return sys.stdin.read()
    if prompt is None and command is None:
        raise CommandFailed("say what the agent has to do: relay run PROMPT; or give --command", 2)
    return (prompt if prompt is not None else command) or ""
