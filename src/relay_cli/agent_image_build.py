"""Builds the image of an agent on the engine of the local stack."""

from collections.abc import Callable
from pathlib import Path

from relay_core.console.output import note
from relay_stack.images.agent_images import AGENT_TAGS, build_agents_image
from relay_stack.images.build import image_id
from relay_stack.machine.consent import Consent
from relay_stack.machine.container_engine import Engine, find_engine
from relay_stack.start import prepare_machine


def offer_build(agent: str, stack_dir: Path, ask: Callable[[str, str], bool]) -> None:
    """Build the image of an agent, unless the engine has it or there is none for the agent.

    Args:
        agent: name of the executor.
        stack_dir: data directory of the local stack.
        ask: called with the agent and the tag of its image; returns whether to build it.
    """
    tag, engine = AGENT_TAGS.get(agent), find_engine()
    if tag is None or not isinstance(engine, Engine):
        return
    client = engine.client()
    try:
        if image_id(client, tag) is not None or not ask(agent, tag):
            return
        base = prepare_machine(stack_dir, Consent()).images.base
        built = build_agents_image(client, (agent,), stack_dir / "build" / "logs", base=base)
    finally:
        client.close()
    note(f"{built.tag} is ready ({built.size / 1e6:.0f} MB)")
