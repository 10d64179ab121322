"""Schemas of numbers that several answers hold: sizes of diffs, what agents used, and the limits of workspaces."""

from pydantic import ConfigDict, Field

from relay_api.schemas.common import Output
from relay_core.domain.limits import Limits

_DEFAULT = Limits()


def is_none(value: object) -> bool:
    """Return whether a value is None, so that its field is left out."""
    return value is None


class StatOut(Output):
    """Size of a diff against the workspace's base."""

    model_config = ConfigDict(frozen=True)

    files: int
    insertions: int = 0
    deletions: int = 0


class PatchStat(StatOut):
    """Size of a diff that has a patch."""

    truncated: bool = Field(default=False, description="Whether the patch is cut; the numbers count all changes.")


class StateStat(PatchStat):
    """Size of the diff of a recorded state against the workspace's base."""

    step: PatchStat | None = Field(
        default=None,
        exclude_if=is_none,
        description="The changes of this execution alone; left out where they are the whole diff.",
    )


def _measure(description: str) -> float | None:
    """Return a field of `UsageOut`, which an answer leaves out if its agent does not report it."""
    found: float | None = Field(default=None, exclude_if=is_none, description=description)
    return found


class UsageOut(Output):
    """Sums over turns of an agent. Those that the agent does not report are left out; agents may report more."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, float]

    input_tokens: float | None = _measure("Tokens sent, without those that a cache held.")
    output_tokens: float | None = _measure("Tokens received.")
    reasoning_tokens: float | None = _measure("Tokens of reasoning.")
    cache_read_input_tokens: float | None = _measure("Tokens sent that a cache held.")
    cache_creation_input_tokens: float | None = _measure("Tokens sent that were put into a cache.")
    cost_usd: float | None = _measure("Cost in US dollars, as the agent reports it.")
    turns: float | None = _measure("Requests of the agent to its model.")
    duration_ms: float | None = _measure("Milliseconds of the agent's work, as it reports them.")


class LimitsOut(Output):
    """Limits of a workspace's container and of each of its executions."""

    model_config = ConfigDict(frozen=True)

    memory_bytes: int = Field(default=_DEFAULT.memory_bytes, description="Bytes of memory, no swap.")
    cpus: float = Field(default=_DEFAULT.cpus, description="Processors' worth of time.")
    pids: int = Field(default=_DEFAULT.pids, description="Processes and threads.")
    nofile: int = Field(default=_DEFAULT.nofile, description="Open files of one process.")
    timeout_seconds: int = Field(default=_DEFAULT.timeout_seconds, description="Wall clock of one execution.")
    no_output_seconds: int = Field(default=_DEFAULT.no_output_seconds, description="Longest silence; 0: any.")
    log_bytes: int = Field(default=_DEFAULT.log_bytes, description="Stored log bytes of one execution.")
    disk_bytes: int = Field(default=_DEFAULT.disk_bytes, description="Bytes of the workspace directory.")
    kill_grace_seconds: float = Field(default=_DEFAULT.kill_grace_seconds, description="Between TERM and KILL.")
