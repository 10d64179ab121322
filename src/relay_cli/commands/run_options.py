"""The argument and the options of `relay run`, as annotated types for the signature of the command."""

from pathlib import Path
from typing import Annotated

import typer

from relay_cli import completion

Prompt = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT",
        show_default=False,
        help="What the agent has to do; - reads it from standard input. May be left out with --command.",
    ),
]
Repo = Annotated[
    list[str] | None,
    typer.Option(
        help="URL or path of a repository; without it the one of this directory. Repeat the option for more of them."
    ),
]
Executor = Annotated[
    str | None,
    typer.Option(
        help="Agent (`relay agents list`), or shell with --command; without it that of relay.toml, else claude-code.",
        autocompletion=completion.executors,
    ),
]
Command = Annotated[str | None, typer.Option(help="Command line that the executor shell runs.")]
Variant = Annotated[str | None, typer.Option(help="Variant (profile) of the agent; see `relay agents list`.")]
Model = Annotated[str | None, typer.Option(help="Model, by the name that the agent has for it.")]
ReasoningEffort = Annotated[str | None, typer.Option(help="Reasoning effort, for agents that take one.")]
PermissionMode = Annotated[str | None, typer.Option(help="auto; or plan, for agents that have a plan mode.")]
Branch = Annotated[
    str | None, typer.Option(help="Target branch of the repositories; without it the remote's default branch.")
]
Ref = Annotated[
    str | None,
    typer.Option(
        help="Where the work starts, if not at the target branch: a branch, a tag, a commit id, or a full ref name "
        "such as refs/pull/7/head."
    ),
]
WithChanges = Annotated[
    bool,
    typer.Option(
        "--with-changes",
        help="Send uncommitted work of the repository along, as a commit below refs/relay/changes; work tree, index "
        "and branches stay as they are. Only for repositories on this machine.",
    ),
]
WorkingDir = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Directory in the repository in which scripts and agent run."),
]
Setup = Annotated[str | None, typer.Option(help="Script that runs before the agent.")]
ParallelSetup = Annotated[
    bool,
    typer.Option("--parallel-setup", help="Run the setup scripts of several repositories at the same time."),
]
SetupAsRoot = Annotated[bool, typer.Option("--setup-as-root", help="Run the setup script as root in the container.")]
Cleanup = Annotated[str | None, typer.Option(help="Script that runs after the agent.")]
DevServer = Annotated[str | None, typer.Option(help="Script of the dev server. It starts on request, not now.")]
Image = Annotated[
    str | None,
    typer.Option(
        help="Container image; without it the project's or the server's default.", autocompletion=completion.images
    ),
]
Attach = Annotated[
    list[Path] | None,
    typer.Option(help="Picture for the agent: a PNG, JPEG, GIF or WebP file. Repeat the option for more of them."),
]
Profile = Annotated[
    str | None,
    typer.Option(help="Session profile (`relay profile list`) that gives image and agent where no other option does."),
]
Env = Annotated[
    list[str] | None,
    typer.Option(
        help="Environment variable: NAME=VALUE, or NAME to pass on the value that it has here. A value that "
        "looks like a secret is masked in logs and diffs. Repeat the option for more of them."
    ),
]
EnvSecret = Annotated[list[str] | None, typer.Option(help="As --env, and the value is always masked.")]
EnvPlain = Annotated[list[str] | None, typer.Option(help="As --env, and the value is never masked.")]
Secret = Annotated[
    list[str] | None,
    typer.Option(
        help="Secret of the project: NAME, or NAME=VARIABLE for another environment variable than NAME. "
        "Repeat the option for more of them."
    ),
]
SecretIn = Annotated[
    list[str] | None,
    typer.Option(help="Step that gets the secrets; without it coding_agent. Repeat the option for more of them."),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=NUMBER",
        help="Limit, for example memory=4g, timeout=10m or cpus=2. See docs/limits.md.",
        autocompletion=completion.limits,
    ),
]
Priority = Annotated[
    str | None,
    typer.Option(
        metavar="LEVEL", help="low, normal or high: a waiting run of a higher priority starts first. Without it normal."
    ),
]
Needs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Capability that the node has to declare, such as gpu; the run waits for such a node. Repeat the option "
        "for more of them.",
    ),
]
User = Annotated[
    int | None, typer.Option(metavar="UID", help="User id of all processes; without it the image's, then the node's.")
]
NoAutoCommit = Annotated[
    bool, typer.Option("--no-auto-commit", help="Leave changes in the work tree; make no commit at the end.")
]
NoJobFile = Annotated[
    bool, typer.Option("--no-job-file", help="Do not read relay.toml of the repositories (docs/job-file.md).")
]
Project = Annotated[
    str | None,
    typer.Option(
        metavar="PROJECT",
        help="Project that the run belongs to: its name or id.",
        autocompletion=completion.projects,
    ),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait/--detach",
        help="Follow the run and exit with its exit code (see docs/cli.md), or print its id and return.",
    ),
]
