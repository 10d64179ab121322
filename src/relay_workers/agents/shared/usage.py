"""Tokens by one definition for all agents: none is counted under two names.

``input_tokens`` were sent and not taken from the provider's cache, ``cache_read_input_tokens`` were taken from it,
``cache_creation_input_tokens`` were written to it; ``output_tokens`` were received without those of reasoning, which
are ``reasoning_tokens``. Agents that do not part them (docs/agents.md) leave reasoning in the output.
"""

from collections.abc import Iterable, Mapping

INPUT, OUTPUT, REASONING = "input_tokens", "output_tokens", "reasoning_tokens"
CACHED, WRITTEN = "cache_read_input_tokens", "cache_creation_input_tokens"


def disjoint(
    counted: Mapping[str, float], *, input_has: Iterable[str] = (), output_has: Iterable[str] = ()
) -> dict[str, float]:
    """The same by our definition.

    Args:
        counted: by our names.
        input_has: which other counts the agent's input includes.
        output_has: likewise its output.
    """
    made = dict(counted)
    for whole, parts in ((INPUT, input_has), (OUTPUT, output_has)):
        if whole in made:
            made[whole] = max(0.0, made[whole] - sum(counted.get(part, 0.0) for part in parts))
    return made


def total(*counted: Mapping[str, float]) -> dict[str, float]:
    """The sum, name by name."""
    made: dict[str, float] = {}
    for one in counted:
        for name, value in one.items():
            made[name] = made.get(name, 0.0) + value
    return made


def growth(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was added to counts that only grow."""
    return {name: max(0.0, value - before.get(name, 0.0)) for name, value in after.items()}
