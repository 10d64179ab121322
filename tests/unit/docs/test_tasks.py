"""docs/tasks.md draws the moves that the code has."""

import re
from pathlib import Path

from relay_core.domain.task import MOVED_BY_EXECUTION, MOVED_BY_HAND, MOVED_BY_MERGE
from relay_core.domain.vocabulary import TaskStatus, WorkspaceState

PAGE = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text()
DRAWINGS = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", PAGE, re.DOTALL)
EDGE = re.compile(r"^\s*(\S+) --> ([^\s:]+)(?:: (.*))?$", re.MULTILINE)


def test_the_drawing_of_a_task_has_the_moves_of_the_code():
    edges = [(source, target, why) for source, target, why in EDGE.findall(DRAWINGS[0]) if source != "[*]"]
    by_hand = {(TaskStatus(source), TaskStatus(target)) for source, target, why in edges if "a person" in why}
    by_steps = {(TaskStatus(source), TaskStatus(target)) for source, target, why in edges if "step" in why}
    by_merge = {(TaskStatus(source), TaskStatus(target)) for source, target, why in edges if "merge" in why}
    assert by_merge == MOVED_BY_MERGE
    assert by_hand == MOVED_BY_HAND
    assert by_steps == MOVED_BY_EXECUTION
    assert len(edges) == len(by_hand) + len(by_steps)


def test_a_task_begins_to_do():
    assert [target for source, target, _ in EDGE.findall(DRAWINGS[0]) if source == "[*]"] == [TaskStatus.TODO]


def test_the_drawing_of_a_workspace_has_the_states_of_the_code():
    edges = EDGE.findall(DRAWINGS[1])
    states = {state for source, target, _ in edges for state in (source, target)} - {"[*]"}
    assert states == {state.value for state in WorkspaceState}
