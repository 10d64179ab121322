"""docs/migrating.md draws the edges of a state that the code has."""

import re
from pathlib import Path

from relay_core.domain.transfer import TRANSITIONS, MigrationStatus

PAGE = (Path(__file__).parents[3] / "docs" / "migrating.md").read_text()
DRAWING = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", PAGE, re.DOTALL)
EDGE = re.compile(r"^\s*(\S+) --> ([^\s:]+)", re.MULTILINE)


def test_the_drawing_has_the_edges_of_the_code():
    assert DRAWING is not None
    edges = set(EDGE.findall(DRAWING.group(1)))
    drawn = {edge for edge in edges if "[*]" not in edge}
    assert drawn == {(source.value, target.value) for source, target in TRANSITIONS}
    assert ("[*]", MigrationStatus.PENDING.value) in edges


def test_what_is_migrated_stays_so():
    assert MigrationStatus.MIGRATED not in {source for source, _ in TRANSITIONS}
