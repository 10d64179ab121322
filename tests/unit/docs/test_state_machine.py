"""docs/state-machine.md draws the edges that the code has, and explains every reason."""

import re
from pathlib import Path

from relay_core.domain.execution import TRANSITIONS
from relay_core.domain.run import ADVICE
from relay_core.domain.vocabulary import Reason, Status

PAGE = (Path(__file__).parents[3] / "docs" / "state-machine.md").read_text()
DRAWING = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", PAGE, re.DOTALL)
EDGE = re.compile(r"^\s*(\S+) --> ([^\s:]+)", re.MULTILINE)


def edges():
    assert DRAWING is not None
    return set(EDGE.findall(DRAWING.group(1)))


def test_the_drawing_has_the_edges_of_the_code():
    assert {edge for edge in edges() if "[*]" not in edge} == {
        (source.value, target.value) for source, target in TRANSITIONS
    }


def test_it_begins_queued_and_ends_in_every_final_status():
    ends = {("[*]", Status.QUEUED.value)} | {(status.value, "[*]") for status in Status if status.final}
    assert {edge for edge in edges() if "[*]" in edge} == ends


def test_every_reason_has_a_meaning_and_something_to_do():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    assert [reason for reason, *_ in rows] == [reason.value for reason in Reason]
    assert all(meaning.strip() and to_do.strip() for _, meaning, to_do in rows)


def test_the_answers_of_the_api_give_the_advice_of_the_page():
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", PAGE, re.MULTILINE)
    page = {reason: re.sub(r"\[[^]]+\]\(([^)]+)\)", r"docs/\1", to_do) for reason, to_do in rows}
    assert page == {reason.value: text for reason, text in ADVICE.items()}
