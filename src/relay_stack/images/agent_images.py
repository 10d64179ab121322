"""The images that contain coding agents: built when somebody wants one, as each is several hundred megabytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker

from relay_stack.errors import StackProblem
from relay_stack.images.build import RECIPES, Recipe, build_image, image_id
from relay_stack.images.image_needs import Needs, check_image
from relay_stack.images.own_images import BASE_TAG

_NATIVE, _NODE, _PYTHON = Needs(glibc=True), Needs(glibc=True, node=True), Needs(python=((3, 10), None))
AGENTS: Mapping[str, Needs] = {
    "claude-code": _NATIVE,
    **dict.fromkeys(("codex", "gemini"), _NODE),
    "opencode": _NATIVE,
    "qwen": _NODE,
    "aider": Needs(python=((3, 10), (3, 12))),
    **dict.fromkeys(("mini", "acp"), _PYTHON),
    **dict.fromkeys(("claude-agent-acp", "codex-acp"), _NODE),
}
"""What an image can hold, and what each needs of the image below. ``acp`` is the library with which Relay drives agents
that speak the Agent Client Protocol; the last two are such agents."""
_WITH_LIBRARY = {"claude-agent-acp", "codex-acp"}
"""Of no use without ``acp``."""
AGENT_TAGS = {name: f"relay-{name}:latest" for name in AGENTS}
"""Agent → tag of the image that holds it alone."""
SEVERAL_TAG = "relay-agents:latest"


@dataclass(frozen=True)
class BuiltImage:
    """An image that is there now. Sizes are bytes on disk, unpacked; `added` is what the agents took."""

    tag: str
    id: str
    agents: tuple[str, ...]
    size: int
    added: int


def choose_agents(names: Sequence[str]) -> tuple[str, ...]:
    """The agents asked for and what they need, each once, in the order of `AGENTS`.

    Raises:
        StackProblem: one is not known; the message lists those there are.
    """
    if unknown := [name for name in names if name not in AGENTS]:
        raise StackProblem(f"There is no agent {unknown[0]!r}; there are: {', '.join(AGENTS)}")
    wanted = {*names, *(["acp"] if _WITH_LIBRARY.intersection(names) else [])}
    return tuple(name for name in AGENTS if name in wanted)


def default_tag(names: Sequence[str]) -> str:
    """How the image with these agents is called."""
    return AGENT_TAGS[names[0]] if len(set(names)) == 1 else SEVERAL_TAG


def ensure_agent_image(client: docker.DockerClient, executor: str, log_folder: Path) -> str:
    """Builds the image of an agent on the present base image, unless the same one is there; returns its id.

    Args:
        client: of the engine.
        executor: one of `AGENTS`, or several with spaces between.
        log_folder: gets the whole output of the build.

    Raises:
        StackProblem: the base image is not there yet, or the build failed; with what to do.
    """
    return build_agents_image(client, executor.split(), log_folder).id


def build_agents_image(
    client: docker.DockerClient,
    names: Sequence[str],
    log_folder: Path,
    *,
    base: str = BASE_TAG,
    below: str | None = None,
    tag: str | None = None,
) -> BuiltImage:
    """Builds an image with agents, unless one of the same recipe is there.

    Takes about half a minute for an agent from npm and a minute for one from PyPI the first time.

    Args:
        client: of the engine.
        names: of `AGENTS`.
        log_folder: gets the whole output of the build.
        base: Relay's own base image, whose tools fetch and build.
        below: the image that the agents are put on; None: `base`.
        tag: None: `default_tag`.

    Raises:
        StackProblem: an image is not there, `below` lacks what an agent needs, or the build failed; with what to do.
    """
    agents, tag = choose_agents(names), tag or default_tag(names)
    tools = _present(client, base, "`relay up` makes it")
    bottom = tools if below is None else _present(client, below, f"get it first (docker pull {below})")
    if image_id(client, tag) == bottom:
        raise StackProblem(f"{tag} is the image to build on; give the new one another name with --tag")
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
