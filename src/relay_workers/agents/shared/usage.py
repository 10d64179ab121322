"""Counts of tokens by one definition for all agents, in which no token is counted under two names.

``input_tokens`` were sent to the model and not read from the provider's cache, ``cache_read_input_tokens`` were read
from the cache, ``cache_creation_input_tokens`` were written to it. ``output_tokens`` were received, without those of
reasoning, which are ``reasoning_tokens``. An agent that reports one number for both (docs/agents.md) has all of them in
``output_tokens``.
"""

from collections.abc import Iterable, Mapping

INPUT, OUTPUT, REASONING = "input_tokens", "output_tokens", "reasoning_tokens"
CACHED, WRITTEN = "cache_read_input_tokens", "cache_creation_input_tokens"


def disjoint(
    counted: Mapping[str, float], *, input_has: Iterable[str] = (), output_has: Iterable[str] = ()
) -> dict[str, float]:
    """Subtract from input and output the tokens that have a count of their own.

    Args:
        counted: the agent's counts, by Relay's names.
        input_has: names of the counts that the agent's count of input tokens includes.
        output_has: names of the counts that the agent's count of output tokens includes.
    """
    counts = dict(counted)
    for whole, parts in ((INPUT, input_has), (OUTPUT, output_has)):
        if whole in counts:
            counts[whole] = max(0.0, counts[whole] - sum(counted.get(part, 0.0) for part in parts))
    return counts


def total(*counted: Mapping[str, float]) -> dict[str, float]:
    """Add counts up, name by name."""
    sums: dict[str, float] = {}
    for counts in counted:
        for name, value in counts.items():
            sums[name] = sums.get(name, 0.0) + value
    return sums


def growth(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Subtract `before` from `after`, name by name; a count that shrank gives 0."""
    return {name: max(0.0, value - before.get(name, 0.0)) for name, value in after.items()}
