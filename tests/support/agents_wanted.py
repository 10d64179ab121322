"""Which real agents the tests try: RELAY_TEST_AGENTS, a list or `all`; else those of continuous integration.

Each takes an image of several hundred megabytes and seconds for each turn, so all of them are for `scripts/agent-matrix`.
"""

import os
from collections.abc import Iterable

IN_CI = ("claude-code", "codex", "claude-agent-acp")


def wanted(known: Iterable[str]) -> list[str]:
    """Those of `known` that this session is to try, in their order."""
    given = os.environ.get("RELAY_TEST_AGENTS", "")
    names = given.split(",") if given else IN_CI
    return [name for name in known if given == "all" or name in names]
