"""Check before the clone that an image contains an executor's programs, and advise how to install a missing one."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from relay_core.domain.agents.executors import EXECUTORS
from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason

_PROBE = 'for p do command -v -- "$p" >/dev/null || printf "%s\\n" "$p"; done'


class AgentInstall(NamedTuple):
    """How to install the program of an agent in an image."""

    image_name: str
    """Name of the agent as an argument of `relay image build`."""
    command: str
    """Shell command that installs the agent in an image that the user builds without Relay."""


AGENT_INSTALLS: Final[Mapping[str, AgentInstall]] = {
    **{
        kind.program: AgentInstall(kind.name, kind.package.install_command)
        for kind in EXECUTORS.values()
        if kind.program and kind.package
    },
    "claude-agent-acp": AgentInstall("claude-agent-acp", "npm install -g @agentclientprotocol/claude-agent-acp"),
    "codex-acp": AgentInstall("codex-acp", "npm install -g @zed-industries/codex-acp"),
}
"""Name of an agent's program → how to install it."""
EVERY_STEP = ("/bin/sh",)
"""Programs that every image must contain: a script without a line of its own for its interpreter is run by them."""
ACP_PYTHON = "/opt/agents/acp/bin/python"
"""Path of a python3 with the library agent-client-protocol in images that `relay image build` made."""


def probe(programs: Sequence[str]) -> list[str]:
    """Return a command that prints the names of missing programs, one per line, in the container where it runs.

    Args:
        programs: the names or paths of the programs to check for.
    """
    return ["/bin/sh", "-c", _PROBE, "sh", *programs]


def require(image: str, probe_output: bytes) -> None:
    """Raise an error if the probe found missing programs.

    Args:
        image: name of the image, for the message.
        probe_output: standard output of the command from `probe` in a container of `image`; empty if no program is
            missing.

    Raises:
        StepFailed: reason `program_missing`; the message names the programs and how to install them.
    """
    missing = probe_output.decode(errors="replace").split("\n")[:-1]
    if missing:
        raise StepFailed(Reason.PROGRAM_MISSING, explain(image, missing))


def explain(image: str, missing: Sequence[str]) -> str:
    """Return a sentence that names the programs missing in `image` and explains how to install them."""
    names = ", ".join(repr(name) for name in missing)
    return f"The image {image} has no program {names}: {_advice(image, missing)}"


def _advice(image: str, missing: Sequence[str]) -> str:
    known = [AGENT_INSTALLS[name] for program in missing if (name := program.rpartition("/")[2]) in AGENT_INSTALLS]
    agents = [*(["acp"] if ACP_PYTHON in missing else []), *(install.image_name for install in known)]
    if not agents:
        return "install it in the image, or give one that holds it as `image`"
    if ACP_PYTHON in missing:
        return (
            "it has the library agent-client-protocol; build an image with it on top of this one on the node "
            f"(`relay image build {' '.join(agents)} --from {image} --tag NAME`) and give `image` as NAME"
        )
    agent, command = known[0]
    return (
        f"build Relay's image for it on the node (`relay image build {agent}`) and give `image` as "
        f"relay-{agent}:latest, or put it into yours ({command}, or "
        f"`relay image build {agent} --from {image} --tag NAME`)"
    )
