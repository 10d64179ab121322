"""Whether an image holds the programs that an executor needs: asked before anything is cloned."""

from collections.abc import Sequence

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason

_PROBE = 'for p do command -v -- "$p" >/dev/null || printf "%s\\n" "$p"; done'
_PACKAGES = {
    "claude": ("claude-code", "Claude Code", "@anthropic-ai/claude-code"),
    "codex": ("codex", "Codex", "@openai/codex"),
    "opencode": ("opencode", "opencode", "opencode-ai"),
    "qwen": ("qwen", "Qwen Code", "@qwen-code/qwen-code"),
}
"""Program → executor, name for people, npm package."""


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
    return f"The image {image} has no program {names}: {_advice(missing[0].rpartition('/')[2])}"


def _advice(program: str) -> str:
    if program not in _PACKAGES:
        return "install it in the image, or give one that holds it as `image`"
    executor, name, package = _PACKAGES[program]
    return (
        f"build Relay's image for it on the node (`relay image build {executor}`) and give "
        f"`image` as relay-{executor}:latest, or put {name} into yours (npm install -g {package})"
    )
