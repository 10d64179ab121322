"""The state of a project follows from what the nodes have of its repositories."""

import pytest

from relay_core.domain.project_state import CloneFacts, ProjectState, next_state
from relay_core.domain.vocabulary import CloneState

CLONING, READY, FAILED = CloneState.CLONING, CloneState.READY, CloneState.FAILED


@pytest.mark.parametrize(
    ("before", "facts", "after"),
    [
        (CLONING, CloneFacts(complete=True, under_way=False, error=None), ProjectState(READY)),
        (FAILED, CloneFacts(complete=True, under_way=True, error="no route"), ProjectState(READY)),
        (CLONING, CloneFacts(complete=False, under_way=False, error="no route"), ProjectState(FAILED, "no route")),
        (READY, CloneFacts(complete=False, under_way=False, error="no route"), ProjectState(FAILED, "no route")),
        (FAILED, CloneFacts(complete=False, under_way=True, error="no route"), ProjectState(CLONING)),
        (CLONING, CloneFacts(complete=False, under_way=False, error=None), ProjectState(CLONING)),
        (READY, CloneFacts(complete=False, under_way=True, error=None), ProjectState(READY)),
        (READY, CloneFacts(complete=False, under_way=False, error=None), ProjectState(READY)),
    ],
    ids=["mirrors", "a node has all", "failed", "repository came", "again", "never tried", "fetched anew", "purged"],
)
def test_next_state(before: CloneState, facts: CloneFacts, after: ProjectState) -> None:
    assert next_state(before, facts) == after
