"""Calculations with token counts. All agents' counts get the same names, and no token is counted under two names.

- ``input_tokens``: sent to the model and neither read from nor written to the provider's cache.
- ``cache_read_input_tokens``: sent to the model and read from the provider's cache.
- ``cache_creation_input_tokens``: sent to the model and written to the provider's cache.
- ``output_tokens``: received from the model, without reasoning tokens.
- ``reasoning_tokens``: received from the model as its reasoning.

If an agent reports output and reasoning as one number (docs/agents.md), ``output_tokens`` contains both.
"""

from collections.abc import Iterable, Mapping

INPUT, OUTPUT, REASONING = "input_tokens", "output_tokens", "reasoning_tokens"
CACHED, WRITTEN = "cache_read_input_tokens", "cache_creation_input_tokens"


def disjoint(
    counted: Mapping[str, float], *, input_has: Iterable[str] = (), output_has: Iterable[str] = ()
) -> dict[str, float]:
    """Return the counts without overlap: input and output tokens without the tokens that have their own count.

    Args:
        counted: the agent's counts, by Relay's names.
        input_has: names of the counts that the agent includes in its input tokens.
        output_has: names of the counts that the agent includes in its output tokens.
    """
    counts = dict(counted)
    for whole, parts in ((INPUT, input_has), (OUTPUT, output_has)):
        if whole in counts:
            counts[whole] = max(0.0, counts[whole] - sum(counted.get(part, 0.0) for part in parts))
    return counts


def total(*counted: Mapping[str, float]) -> dict[str, float]:
    """Return the sums of several counts, name by name."""
    sums: dict[str, float] = {}
    for counts in counted:
        for name, value in counts.items():
            sums[name] = sums.get(name, 0.0) + value
    return sums


def growth(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return `after` minus `before`, name by name; a count that became smaller gives 0."""
    return {name: max(0.0, value - before.get(name, 0.0)) for name, value in after.items()}
