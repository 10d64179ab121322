"""docs/merging.md draws the edges of a merge's status that the code has."""

import re
from pathlib import Path
from uuid import UUID

import pytest

from relay_core.domain.merging import TRANSITIONS, message_of, status_of
from relay_core.domain.vocabulary import MergeStatus, Status

PAGE = (Path(__file__).parents[3] / "docs" / "merging.md").read_text()
DRAWING = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", PAGE, re.DOTALL)
EDGE = re.compile(r"^\s*(\S+) --> ([^\s:]+)", re.MULTILINE)


def test_the_drawing_has_the_edges_of_the_code():
    assert DRAWING is not None
    edges = set(EDGE.findall(DRAWING.group(1)))
    assert {edge for edge in edges if "[*]" not in edge} == {(a.value, b.value) for a, b in TRANSITIONS}
    assert ("[*]", MergeStatus.PENDING.value) in edges


def test_every_status_is_drawn():
    assert {status for edge in TRANSITIONS for status in edge} == set(MergeStatus)


@pytest.mark.parametrize(
    ("merged", "pr_status", "execution", "status"),
    [
        (False, None, Status.QUEUED, MergeStatus.PENDING),
        (False, None, Status.RUNNING, MergeStatus.PENDING),
        (False, None, Status.COMPLETED, MergeStatus.FAILED),
        (False, None, Status.FAILED, MergeStatus.FAILED),
        (False, None, Status.KILLED, MergeStatus.FAILED),
        (False, None, None, MergeStatus.FAILED),
        (True, None, Status.RUNNING, MergeStatus.MERGED),
        (True, None, Status.KILLED, MergeStatus.MERGED),
        (False, "open", Status.COMPLETED, MergeStatus.OPEN),
        (True, "merged", Status.COMPLETED, MergeStatus.MERGED),
        (False, "closed", Status.COMPLETED, MergeStatus.CLOSED),
    ],
)
def test_the_status_follows_from_what_is_stored(merged, pr_status, execution, status):
    assert status_of(merged=merged, pr_status=pr_status, execution=execution) is status


def test_a_message_has_the_title_the_workspace_and_the_description():
    workspace = UUID("fe8a69c8-0a5c-4c1f-8f0e-2b7d6e1f3a4c")
    assert message_of("Mend\nit", "Because.", workspace) == "Mend it (relay fe8a69c8)\n\nBecause.\n"
    assert message_of(" ", None, workspace) == "Changes of a workspace (relay fe8a69c8)\n"
    assert len(message_of("x" * 5000, "y" * 50000, workspace)) < 3300
