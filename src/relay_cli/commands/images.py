"""`relay image build | add | list | save | rm`: container images with coding agents, and pictures for agents."""

import json
from typing import Annotated

import typer

from relay_cli import completion
from relay_cli.commands import pictures
from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_core.console.output import note
from relay_core.settings import get_settings
from relay_stack.errors import StackProblem
from relay_stack.images.agent_images import AGENTS, build_agents_image, choose_agents
from relay_stack.machine.consent import Consent
from relay_stack.start import prepare_machine

image = typer.Typer(help="Build container images with agents; and pictures for agents.", no_args_is_help=True)

image.command("add")(pictures.add)
image.command("list")(pictures.list_images)
image.command("save")(pictures.save)
image.command("rm")(pictures.remove)


@image.command("build")
def image_build(
    agents: Annotated[
        list[str],
        typer.Argument(
            metavar="AGENT…",
            help=f"Agents to put into the image: {', '.join(AGENTS)}.",
            autocompletion=completion.agent_images,
        ),
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
