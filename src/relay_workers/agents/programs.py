"""Whether an image holds the programs that an executor needs: asked before anything is cloned."""

from collections.abc import Sequence

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason

_PROBE = 'for p do command -v -- "$p" >/dev/null || printf "%s\\n" "$p"; done'
_AGENTS = {
    "claude": ("claude-code", "npm install -g @anthropic-ai/claude-code"),
    "codex": ("codex", "npm install -g @openai/codex"),
    "gemini": ("gemini", "npm install -g @google/gemini-cli"),
    "opencode": ("opencode", "npm install -g opencode-ai"),
    "qwen": ("qwen", "npm install -g @qwen-code/qwen-code"),
    "aider": ("aider", "pip install aider-chat"),
    "mini": ("mini", "pip install mini-swe-agent mcp"),
    "claude-agent-acp": ("claude-agent-acp", "npm install -g @agentclientprotocol/claude-agent-acp"),
    "codex-acp": ("codex-acp", "npm install -g @zed-industries/codex-acp"),
}
"""Program → how `relay image build` calls its agent, and how to install it."""
EVERY_STEP = ("cat",)
"""What the supervisor of every step needs, besides the shell that looks for it."""
ACP_PYTHON = "/opt/agents/acp/bin/python"
"""The python3 that has the library agent-client-protocol, in images that `relay image build` has made."""


def probe(programs: Sequence[str]) -> list[str]:
    """The command that prints, a line each, the programs which the container it runs in lacks."""
    return ["/bin/sh", "-c", _PROBE, "sh", *programs]


def require(image: str, probe_output: bytes) -> None:
    """Go on where the probe printed nothing.

    Raises:
        StepFailed: `program_missing`, with what to do about it.
    """
    missing = probe_output.decode(errors="replace").split("\n")[:-1]
    if missing:
        raise StepFailed(Reason.PROGRAM_MISSING, explain(image, missing))


def explain(image: str, missing: Sequence[str]) -> str:
    """What is missing, and what to do about it."""
    names = ", ".join(repr(name) for name in missing)
    return f"The image {image} has no program {names}: {_advice(image, missing)}"


def _advice(image: str, missing: Sequence[str]) -> str:
    known = [_AGENTS[name] for program in missing if (name := program.rpartition("/")[2]) in _AGENTS]
    agents = [*(["acp"] if ACP_PYTHON in missing else []), *(agent for agent, _ in known)]
    if not agents:
        return "install it in the image, or give one that holds it as `image`"
    if ACP_PYTHON in missing:
        return (
            "that is where the library agent-client-protocol is; put it on this image on the node "
            f"(`relay image build {' '.join(agents)} --from {image} --tag NAME`) and give `image` as NAME"
        )
    agent, command = known[0]
    return (
        f"build Relay's image for it on the node (`relay image build {agent}`) and give `image` as "
        f"relay-{agent}:latest, or put it into yours ({command}, or "
        f"`relay image build {agent} --from {image} --tag NAME`)"
    )
