"""The description of a queue message, which Flower shows."""

import ast
from uuid import uuid4

from relay_core.domain.message import MOST_SHOWN, MessageDescription


def test_a_description_shows_what_is_known():
    workspace, run = uuid4(), uuid4()
    assert MessageDescription("t", [], workspace, run).shown() == {
        "title": "t",
        "workspace": str(workspace),
        "run": str(run),
    }
    shown = MessageDescription(None, ["https://git.example/a", "https://git.example/b"], workspace).shown()
    assert shown == {"repository": "https://git.example/a, https://git.example/b", "workspace": str(workspace)}


def test_a_long_title_is_cut_and_a_hostile_one_stays_one_text():
    hostile = "'}); import os\n\x1b[31m</script>" + "x" * 1000
    shown = MessageDescription(hostile, [], uuid4()).shown()
    assert len(shown["title"]) == MOST_SHOWN
    assert ast.literal_eval(repr(shown)) == shown
    assert "\n" not in repr(shown)
