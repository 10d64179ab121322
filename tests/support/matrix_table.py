"""Writes what the matrix has found into docs/agents.md: `python -m tests.support.matrix_table FOUND PAGE`."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

TABLE = re.compile(r"(?<=<!-- matrix -->\n).*?(?=<!-- /matrix -->)", re.DOTALL)
WORDS = {
    "edits_and_commits": "edits and commits",
    "text_grows_while_the_model_says_it": "text grows live",
    "follow_up_remembers": "follow-up remembers",
    "model_error": "model error",
    "model_stall_ends_as_no_output": "stall → `no_output`",
    "flood": "flood",
    "kill_in_a_tool_call_leaves_the_dev_server": "kill in a tool call",
    "a_turn_outlives_its_worker": "worker killed in a turn",
    "unknown_session": "unknown session",
    "a_conversation_survives_its_container": "container made anew",
}


def outcomes(page: str) -> dict[str, dict[str, str]]:
    """The outcomes that the page has: {agent: {behaviour: outcome}}. A column of another heading is left out."""
    found = TABLE.search(page)
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found[0].splitlines()]
    names = {heading: behaviour for behaviour, heading in WORDS.items()}
    return {
        row[0]: {names[heading]: cell for heading, cell in zip(head, row, strict=True) if heading in names}
        for row in rows
    }


def table(found: Mapping[str, Mapping[str, str]], before: Mapping[str, Mapping[str, str]]) -> str:
    """A row for each agent; an agent or a behaviour that was not tried this time keeps its last outcome."""
    every = {name: {**before.get(name, {}), **found.get(name, {})} for name in {**before, **found}}
    lines = [
        f"| {name} | " + " | ".join(row.get(behaviour, "-") for behaviour in WORDS) + " |"
        for name, row in every.items()
    ]
    head = f"| | {' | '.join(WORDS.values())} |\n|{'---|' * (len(WORDS) + 1)}\n"
    return head + "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite the page."""
    found, page = Path(sys.argv[1]).read_text(), Path(sys.argv[2])
    text = page.read_text()
    made = table(json.loads(found or "{}"), outcomes(text))
    page.write_text(TABLE.sub(lambda _: made, text))


if __name__ == "__main__":
    main()
