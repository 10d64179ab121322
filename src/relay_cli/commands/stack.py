"""`relay up | down | status | db upgrade`: the local stack."""

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

image = typer.Typer(help="Images that contain a coding agent.", no_args_is_help=True)
db = typer.Typer(help="The database.", no_args_is_help=True)


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once it is up.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Change this machine without asking.")] = False,
    sample: Annotated[
        bool | None, typer.Option("--sample/--no-sample", help="Run the sample job (first start).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the whole stack on this machine: database, queue, API, worker, Flower. Ctrl-C ends it.

    Example: relay up --detach
    """
    if as_json and not detach:
        raise CommandFailed("--json belongs to --detach: without it `relay up` stays until Ctrl-C", 2)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        code = bring_up(UpOptions(detach=detach, yes=yes, sample=sample))
    if as_json:
        status(as_json=True)
    raise typer.Exit(code)


def down(
    everything: Annotated[bool, typer.Option("--all", help="Also end workspaces' containers and our engine.")] = False,
    as_json: Json = False,
) -> None:
    """End the stack; data stays."""
    ended = take_down(get_settings().data_dir, everything=everything)
    if as_json:
        print(json.dumps(vars(ended), indent=2))
        return
    for line in describe(ended):
        note(line)


def status(as_json: Json = False) -> None:
    """Say what runs and where."""
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
    """Bring the database of RELAY_DATABASE_URL to this version's schema."""
    revision = upgrade(get_settings().database_url)
    if as_json:
        print(json.dumps({"revision": revision}))
    else:
        note(f"the schema is at {revision}")


@image.command("build")
def image_build(
    agents: Annotated[list[str], typer.Argument(metavar="AGENT…", help=f"What it shall hold: {', '.join(AGENTS)}.")],
    below: Annotated[
        str | None, typer.Option("--from", metavar="IMAGE", help="The image to put them on; else Relay's base image.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="Its name; else relay-AGENT:latest, of several relay-agents:latest.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build an image with coding agents on this machine's engine (about half a minute each, needs PyPI and npm).

    Example: relay image build claude-code codex --from my-team/app:latest --tag my-team/app-agents:latest
    """
    try:
        choose_agents(agents)
    except StackProblem as problem:
        raise CommandFailed(str(problem), 2) from problem
    if below is not None and tag is None:
        raise CommandFailed("--from makes another image than the one of that name: give it a name with --tag", 2)
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
