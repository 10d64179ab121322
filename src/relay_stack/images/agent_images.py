"""Build images with coding agents. They are built on demand, because each takes several hundred megabytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker

from relay_core.domain.agents.executors import EXECUTORS
from relay_core.domain.agents.packages import AgentPackage, Runtime
from relay_stack.errors import StackProblem
from relay_stack.images.build import RECIPES, Recipe, build_image, image_id
from relay_stack.images.image_needs import Needs, check_image
from relay_stack.images.own_images import BASE_TAG


def _needs(package: AgentPackage) -> Needs:
    if package.runtime is Runtime.PYTHON:
        return Needs(python=((3, 10), package.newest_python))
    return Needs(glibc=True, node=package.runtime is Runtime.NODE)


AGENTS: Mapping[str, Needs] = {
    **{kind.name: _needs(kind.package) for kind in EXECUTORS.values() if kind.package},
    "acp": Needs(python=((3, 10), None)),
    **dict.fromkeys(("claude-agent-acp", "codex-acp"), Needs(glibc=True, node=True)),
}
"""Agent → its requirements for the image that it is added to. ``acp`` is not an agent but the library with which Relay
drives agents that speak the Agent Client Protocol; the last two names are such agents."""
_WITH_LIBRARY = {"claude-agent-acp", "codex-acp"}
"""Agents that need ``acp`` in the same image."""
AGENT_TAGS = {name: f"relay-{name}:latest" for name in AGENTS}
"""Agent → tag of the image that holds only this agent."""
SEVERAL_TAG = "relay-agents:latest"
"""Tag of an image that holds several agents."""


@dataclass(frozen=True)
class BuiltImage:
    """An image with agents.

    Attributes:
        tag: name of the image.
        id: the engine's id of the image.
        agents: names of the agents in the image.
        size: size of the unpacked image in bytes.
        added: bytes of `size` that the agents add to the image below.
    """

    tag: str
    id: str
    agents: tuple[str, ...]
    size: int
    added: int


def choose_agents(names: Sequence[str]) -> tuple[str, ...]:
    """Return the named agents, and the library ``acp`` if one needs it, each once, in the order of `AGENTS`.

    Raises:
        StackProblem: a name is unknown; the message lists the known names.
    """
    if unknown := [name for name in names if name not in AGENTS]:
        raise StackProblem(f"There is no agent {unknown[0]!r}; there are: {', '.join(AGENTS)}")
    wanted = {*names, *(["acp"] if _WITH_LIBRARY.intersection(names) else [])}
    return tuple(name for name in AGENTS if name in wanted)


def default_tag(names: Sequence[str]) -> str:
    """Return the default tag of an image with these agents: `relay-AGENT:latest` for one, else `SEVERAL_TAG`."""
    return AGENT_TAGS[names[0]] if len(set(names)) == 1 else SEVERAL_TAG


def build_agents_image(
    client: docker.DockerClient,
    names: Sequence[str],
    log_folder: Path,
    *,
    base: str = BASE_TAG,
    below: str | None = None,
    tag: str | None = None,
) -> BuiltImage:
    """Build an image with agents, unless an image of the same recipe exists.

    The first build takes about half a minute for an agent from npm, and a minute for one from PyPI.

    Args:
        client: client of the engine.
        names: names in `AGENTS`.
        log_folder: folder for a file with the whole output of the build.
        base: Relay's base image, whose programs download and build the agents.
        below: image that the agents are added to; None for `base`.
        tag: name of the new image; None for the name of `default_tag`.

    Raises:
        StackProblem: an image is missing, `below` lacks something that an agent needs, or the build failed; the
            message says what to do.
    """
    agents, tag = choose_agents(names), tag or default_tag(names)
    tools = _present(client, base, "`relay up` makes it")
    bottom = tools if below is None else _present(client, below, f"get it first (docker pull {below})")
    if image_id(client, tag) == bottom:
        raise StackProblem(f"{tag} is the image to build on; give the new image another name with --tag")
    recipe = Recipe(tag, RECIPES / "agents", {"BASE": bottom, "TOOLS": tools, "AGENTS": " ".join(agents)})
    if below is not None:
        check_image(client, below, {name: AGENTS[name] for name in agents})
    built = build_image(client, recipe, log_folder)
    size, below_size = (int(client.images.get(each).attrs["Size"]) for each in (built, bottom))
    return BuiltImage(tag, built, agents, size, size - below_size)


def _present(client: docker.DockerClient, tag: str, advice: str) -> str:
    found = image_id(client, tag)
    if found is None:
        raise StackProblem(f"The image {tag} is not there yet; {advice}")
    return found
