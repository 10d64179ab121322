"""Writes what the matrix has found into docs/agents.md: `python -m tests.support.matrix_table FOUND PAGE`."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

TABLE = re.compile(r"(?<=<!-- matrix -->\n).*?(?=<!-- /matrix -->)", re.DOTALL)
WORDS = {
    "edits_and_commits": "edits and commits",
    "follow_up_remembers": "follow-up remembers",
    "model_error": "model error",
    "model_stall_ends_as_no_output": "stall → `no_output`",
    "flood": "flood",
    "kill_in_a_tool_call_leaves_the_dev_server": "kill in a tool call",
    "a_turn_outlives_its_worker": "worker killed in a turn",
    "unknown_session": "unknown session",
    "a_conversation_survives_its_container": "container made anew",
}


def rows(page: str) -> dict[str, str]:
    """The rows that the page has, by agent."""
    found = TABLE.search(page)
    lines = found[0].splitlines()[2:] if found else []
    return {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}


def table(found: Mapping[str, Mapping[str, str]], before: Mapping[str, str]) -> str:
    """A row for each agent; one that was not tried this time keeps its last."""
    made = {
        name: f"| {name} | " + " | ".join(outcomes.get(behaviour, "-") for behaviour in WORDS) + " |"
        for name, outcomes in found.items()
    }
    head = f"| | {' | '.join(WORDS.values())} |\n|{'---|' * (len(WORDS) + 1)}\n"
    return head + "\n".join({**before, **made}.values()) + "\n"


def main() -> None:
    """Rewrite the page."""
    found, page = Path(sys.argv[1]).read_text(), Path(sys.argv[2])
    text = page.read_text()
    made = table(json.loads(found or "{}"), rows(text))
    page.write_text(TABLE.sub(lambda _: made, text))


if __name__ == "__main__":
    main()
