"""Whether an image holds the programs that an executor needs: asked before anything is cloned."""

from collections.abc import Sequence

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason

_PROBE = 'for p do command -v -- "$p" >/dev/null || printf "%s\\n" "$p"; done'
_ADVICE = {
    "claude": "build Relay's image for it on the node (`relay image build claude-code`) and give "
    "`image` as relay-claude-code:latest, or put Claude Code into yours (npm install -g @anthropic-ai/claude-code)",
}


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
    advice = _ADVICE.get(missing[0].rpartition("/")[2], "install it in the image, or give one that holds it as `image`")
    return f"The image {image} has no program {names}: {advice}"
