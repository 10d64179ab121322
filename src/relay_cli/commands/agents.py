"""`relay agents list | show | check`: agents, their variants, and checks of profile files and images."""

from pathlib import Path
from typing import Annotated, Any

import typer

from relay_cli import completion, output
from relay_cli.client import connect
from relay_cli.commands.ids import id_option
from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_cli.worker_process import ask_worker
from relay_core.console.output import note
from relay_core.domain.agents import profiles
from relay_core.domain.agents.executors import EXECUTORS
from relay_core.domain.errors import InvalidInput
from relay_core.settings import get_settings

agents = typer.Typer(no_args_is_help=True, help="Agents that a run can name, and their variants (profiles).")
Project = Annotated[str | None, id_option("Id of a project: include the variants that it defines.")]


@agents.command("list")
def list_agents(project: Project = None, as_json: Json = False) -> None:
    """List all agents and their variants.

    Example: relay agents list
    """
    items = _agents(project)
    rows = [
        {
            "name": agent["name"],
            "program": agent["program"],
            "follow-ups": "yes" if agent["can_resume"] else "no",
            "goes back": "yes" if agent["can_rewind"] else "no",
            "images": "yes" if agent["can_see_images"] else "no",
            "variants": ", ".join(variant["name"] for variant in agent["variants"]),
            "summary": agent["summary"],
        }
        for agent in items
    ]
    columns = ("name", "program", "follow-ups", "goes back", "images", "variants", "summary")
    output.show_list(items if as_json else rows, columns, as_json=as_json)


@agents.command("show")
def show_agent(
    name: Annotated[
        str,
        typer.Argument(help="Agent, or AGENT.VARIANT for one variant of it.", autocompletion=completion.executors),
    ],
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Show the options that an agent, or one variant of it, runs with.

    Example: relay agents show codex.default
    """
    agent, _, variant = name.partition(".")
    items = {each["name"]: each for each in _agents(project)}
    if agent not in items:
        raise CommandFailed(f"there is no agent {agent!r}; there are: {', '.join(items)}", 2)
    found: dict[str, Any] = items[agent]
    if variant:
        variants = {each["name"]: each for each in found["variants"]}
        if variant not in variants:
            raise CommandFailed(f"{agent} has no variant {variant!r}; there are: {', '.join(variants)}", 2)
        found = variants[variant]
    output.show(found, as_json=as_json)


@agents.command("check")
def check_profiles(
    file: Annotated[Path | None, typer.Argument(help="Profile file; without it that of RELAY_AGENTS_FILE.")] = None,
    image: Annotated[str | None, typer.Option(help="Also say which agents this image holds.")] = None,
) -> None:
    """Check a profile file, and list which agents an image on this machine's container engine contains.

    Example: relay agents check agents.toml --image relay-agents:latest
    """
    path = file or get_settings().agents_file
    if path is None and image is None:
        raise CommandFailed("nothing to check: name a profile file, set RELAY_AGENTS_FILE, or give --image", 2)
    if path is not None:
        note(f"{path}: {_checked(path)}")
    if image is not None:
        for line in _programs_in(image):
            note(line)


def _checked(path: Path) -> str:
    try:
        found = profiles.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror}", 2) from error
    except (UnicodeDecodeError, InvalidInput) as error:
        raise CommandFailed(f"{path}: {error}", 2) from error
    names = [f"{name}.{variant}" for name, variants in found.items() for variant in variants]
    return f"{len(names)} profiles, nothing wrong: {', '.join(names)}" if names else "no profiles, nothing wrong"


def _programs_in(image: str) -> list[str]:
    wanted = {kind.name: kind.program for kind in EXECUTORS.values() if kind.program}
    present = ask_worker("programs", image, *sorted(set(wanted.values())))["present"]
    return [
        f"{name}: {'is there' if program in present else f'no {program} in {image}'}"
        for name, program in wanted.items()
    ]


def _agents(project: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = connect().call(
        "GET", "/v1/agents", params={"project_id": str(project)} if project else {}
    )["items"]
    return found
