"""`relay up | down | status | db upgrade | image build`: the local stack."""

import json
import sys
from contextlib import nullcontext, redirect_stdout
from typing import Annotated

import typer

from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.settings import get_settings
from relay_core.store.schema.migrate import upgrade
from relay_stack.bring_up import UpOptions, bring_up
from relay_stack.down import describe, take_down
from relay_stack.errors import StackProblem
from relay_stack.images.agent_images import AGENTS, build_agents_image, choose_agents
from relay_stack.machine.consent import Consent
from relay_stack.start import prepare_machine
from relay_stack.status import current_state

image = typer.Typer(help="Images with coding agents, for the containers of workspaces.", no_args_is_help=True)
db = typer.Typer(help="Schema of the database.", no_args_is_help=True)


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the stack is up; it stays in the background.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Install packages and start services without asking.")
    ] = False,
    sample: Annotated[
        bool | None,
        typer.Option(
            "--sample/--no-sample", help="Run the sample job; without the option it runs at the first start only."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start database, queue, API, worker and Flower on this machine. Ctrl-C stops them.

    Example: relay up --detach
    """
    if as_json and not detach:
        raise CommandFailed("--json needs --detach: without it `relay up` stays until Ctrl-C", 2)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        code = bring_up(UpOptions(detach=detach, yes=yes, sample=sample))
    if as_json:
        status(as_json=True)
    raise typer.Exit(code)


def down(
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also remove the containers of workspaces, and stop the Docker engine if Relay started it."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Stop the stack. Its data stays."""
    ended = take_down(get_settings().data_dir, everything=everything)
    if as_json:
        print(json.dumps(vars(ended), indent=2))
        return
    for line in describe(ended):
        note(line)


def status(as_json: Json = False) -> None:
    """Show the processes of the stack and their addresses."""
    state = current_state(get_settings().data_dir)
    if state is None:
        raise CommandFailed("no local stack is up; start one with `relay up`")
    if as_json:
        print(json.dumps(state.public(), indent=2))
        return
    print(f"API     {state.api_url}  (docs: {state.api_url}/docs)")
    print(f"Flower  {state.flower_url}  (user {state.flower_user}; password: relay status --json)")
    for process in state.processes:
        print(f"{process.name:<10}{process.state}  pid {process.pid or '-'}")


@db.command("upgrade")
def db_upgrade(as_json: Json = False) -> None:
    """Upgrade the database of RELAY_DATABASE_URL to this version's schema."""
    revision = upgrade(get_settings().database_url)
    if as_json:
        print(json.dumps({"revision": revision}))
    else:
        note(f"the schema is at {revision}")


@image.command("build")
def image_build(
    agents: Annotated[
        list[str], typer.Argument(metavar="AGENT…", help=f"Agents to put into the image: {', '.join(AGENTS)}.")
    ],
    below: Annotated[
        str | None,
        typer.Option("--from", metavar="IMAGE", help="Image to put the agents on; without it Relay's base image."),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(
            help="Name of the new image; without it relay-AGENT:latest, or relay-agents:latest for several agents."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build an image with coding agents, on this machine's container engine.

    It takes about half a minute for each agent, and downloads from PyPI and npm.

    Example: relay image build claude-code codex --from my-team/app:latest --tag my-team/app-agents:latest
    """
    try:
        choose_agents(agents)
    except StackProblem as problem:
        raise CommandFailed(str(problem), 2) from problem
    if below is not None and tag is None:
        raise CommandFailed("--from needs --tag: give the new image a name of its own", 2)
    data_dir = get_settings().data_dir
    machine = prepare_machine(data_dir, Consent(yes=False))
    base = machine.images.base
    client = machine.engine.client()
    built = build_agents_image(client, agents, data_dir / "build" / "logs", base=base, below=below, tag=tag)
    if as_json:
        print(json.dumps({"image": built.tag, **{key: value for key, value in vars(built).items() if key != "tag"}}))
        return
    note(
        f"{built.tag} is ready ({built.size / 1e6:.0f} MB, {built.added / 1e6:.0f} MB of them added to "
        f"{below or base}): relay run --image {built.tag} …"
    )
