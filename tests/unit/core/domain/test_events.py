"""The kinds of events: one terminal kind for each final status, and no kind written out elsewhere."""

import re
from pathlib import Path

from relay_core.domain.events import TERMINAL, EventKind
from relay_core.domain.vocabulary import FINAL

SOURCE = Path(__file__).parents[4] / "src"


def test_each_final_status_has_its_terminal_event():
    assert TERMINAL.keys() == FINAL
    assert {kind.value for kind in TERMINAL.values()} == {f"execution.{status}" for status in FINAL}


def test_no_module_writes_a_kind_out():
    texts = re.compile("|".join(f'"{re.escape(kind)}"' for kind in EventKind))
    found = [
        f"{path.relative_to(SOURCE)}: {texts.findall(path.read_text())}"
        for path in SOURCE.rglob("*.py")
        if path.name != "events.py" and "migrations" not in path.parts and texts.search(path.read_text())
    ]
    assert found == []
